/** Order of the alarm list, and the number of unacknowledged alarms. Pure. */

import type { AlarmBody, AlarmState, Priority } from '@/shared/contract/contract'

export const PRIORITIES: readonly Priority[] = ['critical', 'high', 'medium', 'low']

const WAITING: ReadonlySet<AlarmState> = new Set<AlarmState>([
  'unacknowledged',
  'returned_unacknowledged',
  'latched_unacknowledged',
])

/** It is not annunciated. In doubt it is: too loud is better than unnoticed. */
export function isSetAside(alarm: AlarmBody): boolean {
  return !(alarm.annunciated as boolean | undefined ?? true)
}

/** This alarm is unacknowledged and annunciated. */
export function isUnacknowledged(alarm: AlarmBody): boolean {
  return WAITING.has(alarm.state) && !isSetAside(alarm)
}

/** The condition is over; the alarm stays until somebody resets it. */
export function isLatched(alarm: AlarmBody): boolean {
  return alarm.state === 'latched_unacknowledged' || alarm.state === 'latched_acknowledged'
}

/** Critical first, then who waits for an answer, then the newest. The id decides the rest: rows must not dance. */
export function compareAlarms(a: AlarmBody, b: AlarmBody): number {
  return (
    rank(a.priority) - rank(b.priority) ||
    Number(isUnacknowledged(b)) - Number(isUnacknowledged(a)) ||
    Date.parse(b.raised_at) - Date.parse(a.raised_at) ||
    (a.id < b.id ? -1 : 1)
  )
}

export function inOrder(alarms: Iterable<AlarmBody>): AlarmBody[] {
  return [...alarms].sort(compareAlarms)
}

export function countUnacknowledged(alarms: Iterable<AlarmBody>): Record<Priority, number> {
  const counts: Record<Priority, number> = { critical: 0, high: 0, medium: 0, low: 0 }
  for (const alarm of alarms) {
    if (isUnacknowledged(alarm)) counts[alarm.priority] += 1
  }
  return counts
}

/** The worst open alarm's priority of each equipment, of those that nothing keeps quiet. */
export function worstByEquipment(alarms: Iterable<AlarmBody>): Map<string, Priority> {
  const worst = new Map<string, Priority>()
  for (const alarm of alarms) {
    if (isSetAside(alarm)) continue
    const known = worst.get(alarm.equipment)
    if (known === undefined || rank(alarm.priority) < rank(known)) worst.set(alarm.equipment, alarm.priority)
  }
  return worst
}

/** A priority that this page does not know is shown first: too loud is better than unseen. */
function rank(priority: Priority): number {
  return PRIORITIES.indexOf(priority)
}

/** Positions of the list with another alarm than before; new positions at the end do not count. */
export function changedPlaces(before: readonly string[], after: readonly string[]): string[] {
  return after.filter((id, place) => place < before.length && before[place] !== id)
}

/** The row to select after an arrow key; the first one when none was selected. Null in an empty list. */
export function neighbour(ids: readonly string[], selected: string | null, step: 1 | -1): string | null {
  const place = selected === null ? -1 : ids.indexOf(selected)
  if (place === -1) return ids[0] ?? null
  return ids[Math.min(ids.length - 1, Math.max(0, place + step))] ?? null
}
