/** Which values a tile shows. Pure. */

import type { EquipmentBody, FieldBody, ProfileBody, Value } from '@/shared/contract/contract'

export interface TileField {
  name: string
  /** Null for a field that the profile does not know. */
  field: FieldBody | null
  value: Value
}

const FIELDS_ON_A_TILE = 5

/** The first fields of the profile that have values; without a profile, whatever there is. */
export function tileFields(equipment: EquipmentBody, profile: ProfileBody | null): TileField[] {
  const fields: { name: string; field: FieldBody | null }[] = profile
    ? profile.fields.map((field) => ({ name: field.name, field }))
    : Object.keys(equipment.latest).map((name) => ({ name, field: null }))
  const filled: TileField[] = []
  for (const { name, field } of fields) {
    const latest = equipment.latest[name]
    if (latest) filled.push({ name, field, value: latest.value })
    if (filled.length === FIELDS_ON_A_TILE) break
  }
  return filled
}

/** Whether a value can be true; what has no range always can. */
export function isPlausible(field: FieldBody | null, value: Value): boolean {
  const plausible = field?.plausible ?? null
  if (field === null || typeof value !== 'number' || plausible === null) return true
  const [low, high] = plausible
  return value >= low && value <= high && !field.sentinels.includes(value)
}
