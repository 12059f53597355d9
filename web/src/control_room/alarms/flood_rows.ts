/** The rows of the list: alarms of one emergency are one entry, and a flood is folded under its causes. Pure. */

import type { AlarmBody } from '@/shared/contract/contract'
import type { FloodBody } from '@/shared/contract/floods'

import { isUnacknowledged } from './alarm_order'

/** Why alarms are folded under one: they are one incident, or a flood and its probable cause. */
export type FoldReason = 'incident' | 'flood'

export interface AlarmRowItem {
  alarm: AlarmBody
  /** What is unfolded with it: the emergency's number or the cause's id, which stay while rows change places. */
  group: string
  reason: FoldReason
  /** How many are folded under it, shown or not; 0 for a single alarm. */
  folded: number
  /** How many of these are unacknowledged. */
  waiting: number
  /** It is shown under another one. */
  member: boolean
}

/**
 * Fold alarms, which come in the order of the list. A group is placed where the first of its alarms would be, headed by
 * its cause, or by the first that is left of it. Life safety is folded into its own incident only, regardless of the server's data.
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

/** Points of a fire panel and alarms of lifts are shown one by one: each is a place, or a person, of its own. */
const SHOWN_SINGLY: ReadonlySet<string> = new Set(['fire_panel', 'elevator'])

function incidentOf(alarm: AlarmBody): string | undefined {
  return alarm.ticket?.startsWith('E-') && !SHOWN_SINGLY.has(alarm.kind) ? alarm.ticket : undefined
}

function groupOf(alarm: AlarmBody, causeOf: ReadonlyMap<string, string>): string | undefined {
  const incident = incidentOf(alarm)
  if (incident !== undefined) return incident
  return alarm.life_safety || alarm.priority === 'critical' ? undefined : causeOf.get(alarm.id)
}

function rowsOfGroup(members: readonly AlarmBody[], group: string, unfolded: ReadonlySet<string>): AlarmRowItem[] {
  const head = members.find((alarm) => alarm.id === group) ?? members[0]
  if (head === undefined) return []
  const rest = members.filter((alarm) => alarm !== head)
  const reason: FoldReason = incidentOf(head) === undefined ? 'flood' : 'incident'
  const first = { ...row(head), group, reason, folded: rest.length, waiting: rest.filter(isUnacknowledged).length }
  const shown = unfolded.has(group) ? rest.map((alarm) => ({ ...row(alarm), member: true })) : []
  return [first, ...shown]
}

function row(alarm: AlarmBody): AlarmRowItem {
  return { alarm, group: alarm.id, reason: 'flood', folded: 0, waiting: 0, member: false }
}
