/** The rows of the list: during a flood what belongs together is folded under its probable cause. Pure. */

import type { AlarmBody } from '@/shared/contract'
import type { FloodBody } from '@/shared/flood_contract'

import { isUnacknowledged } from './alarm_order'

export interface AlarmRowItem {
  alarm: AlarmBody
  /** How many are folded under it, shown or not; 0 for an alarm that stands by itself. */
  folded: number
  /** How many of these nobody has answered. */
  waiting: number
  /** It is shown under another one. */
  member: boolean
}

/**
 * Fold alarms, which come in the order of the list. A group stands where the first of its alarms would stand, headed by
 * its cause, or by the first that is left of it. Life safety is folded nowhere, whatever a server says.
 */
export function foldedRows(
  alarms: readonly AlarmBody[],
  floods: Iterable<FloodBody>,
  unfolded: ReadonlySet<string>,
): AlarmRowItem[] {
  const causeOf = causes(floods)
  const groups = new Map<string, AlarmBody[]>()
  for (const alarm of alarms) {
    const cause = groupOf(alarm, causeOf)
    if (cause !== undefined) groups.set(cause, [...(groups.get(cause) ?? []), alarm])
  }
  const done = new Set<string>()
  return alarms.flatMap((alarm) => {
    const cause = groupOf(alarm, causeOf)
    if (cause === undefined) return [row(alarm)]
    if (done.has(cause)) return []
    done.add(cause)
    return rowsOfGroup(groups.get(cause) ?? [], cause, unfolded)
  })
}

function causes(floods: Iterable<FloodBody>): Map<string, string> {
  const causeOf = new Map<string, string>()
  for (const flood of floods) {
    for (const group of flood.groups) {
      for (const id of [group.cause, ...group.members]) causeOf.set(id, group.cause)
    }
  }
  return causeOf
}

function groupOf(alarm: AlarmBody, causeOf: ReadonlyMap<string, string>): string | undefined {
  return alarm.life_safety || alarm.priority === 'critical' ? undefined : causeOf.get(alarm.id)
}

function rowsOfGroup(group: readonly AlarmBody[], cause: string, unfolded: ReadonlySet<string>): AlarmRowItem[] {
  const head = group.find((alarm) => alarm.id === cause) ?? group[0]
  if (head === undefined) return []
  const members = group.filter((alarm) => alarm !== head)
  const first = { ...row(head), folded: members.length, waiting: members.filter(isUnacknowledged).length }
  const shown = unfolded.has(head.id) ? members.map((alarm) => ({ ...row(alarm), member: true })) : []
  return [first, ...shown]
}

function row(alarm: AlarmBody): AlarmRowItem {
  return { alarm, folded: 0, waiting: 0, member: false }
}
