/** The folded group of alarms that are not annunciated. Pure. */

import type { AlarmBody } from '@/shared/contract/contract'
import type { SuppressionBody } from '@/shared/contract/suppression'

import { inOrder, isSetAside } from '@/control_room/alarms/alarm_order'

export interface Sorted {
  /** What waits for people, or has their answer. */
  heard: AlarmBody[]
  setAside: AlarmBody[]
}

export function sorted(alarms: Iterable<AlarmBody>): Sorted {
  const all = inOrder(alarms)
  return { heard: all.filter((alarm) => !isSetAside(alarm)), setAside: all.filter(isSetAside) }
}

/** When a reason ends, as a text's key and, where it is a time, the time. */
export function endOf(item: SuppressionBody): { key: string; time: number | null } {
  if (item.until !== null) return { key: 'setAside.until', time: Date.parse(item.until) }
  const returned = item.reason === 'out_of_service'
  return { key: returned ? 'setAside.untilReturned' : 'setAside.untilCauseEnds', time: null }
}

export function isShelved(alarm: AlarmBody): boolean {
  return alarm.suppressions.some((item) => item.reason === 'shelved')
}

/** Alarms suppressed by a cause, by the id of the alarm of the cause, which is annunciated. */
export function causedBy(setAside: Iterable<AlarmBody>): Map<string, AlarmBody[]> {
  const caused = new Map<string, AlarmBody[]>()
  for (const alarm of setAside) {
    const causes = alarm.suppressions.filter(isExplained).map((item) => item.source)
    for (const cause of new Set(causes)) caused.set(cause, [...(caused.get(cause) ?? []), alarm])
  }
  return caused
}

/** Suppressed by another alarm: its id is the source; the text is for the record. */
export function isExplained(item: SuppressionBody): boolean {
  return EXPLAINED.has(item.reason)
}

const EXPLAINED: ReadonlySet<string> = new Set(['parent', 'rule'])
