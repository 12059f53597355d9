/** Tiles in groups by kind, each in a place that never moves: people find a lift by its position. Pure. */

import type { EquipmentBody, ProfileBody } from '@/shared/contract/contract'

export interface EquipmentGroup {
  kind: string
  /** Null for a kind that the server has no profile of. */
  profile: ProfileBody | null
  equipment: EquipmentBody[]
}

const byCode = new Intl.Collator('en', { numeric: true })

/** Groups in the order of the profiles, then kinds without one. */
export function groupByKind(
  equipment: Iterable<EquipmentBody>,
  profiles: ReadonlyMap<string, ProfileBody>,
): EquipmentGroup[] {
  const groups = new Map<string, EquipmentGroup>()
  for (const profile of profiles.values()) groups.set(profile.kind, { kind: profile.kind, profile, equipment: [] })
  for (const item of equipment) {
    let group = groups.get(item.kind)
    if (!group) {
      group = { kind: item.kind, profile: null, equipment: [] }
      groups.set(item.kind, group)
    }
    group.equipment.push(item)
  }
  const filled = [...groups.values()].filter((group) => group.equipment.length > 0)
  for (const group of filled) {
    group.equipment.sort((a, b) => byCode.compare(a.site, b.site) || byCode.compare(a.code, b.code))
  }
  return filled
}

/** What is retired is known, so that alarms and tickets of it have a name and a place, and has no tile. */
export function inUse(equipment: Iterable<EquipmentBody>): EquipmentBody[] {
  return [...equipment].filter((item) => item.retired_at === null)
}
