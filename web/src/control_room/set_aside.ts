/** What stands in the folded group of alarms that something keeps quiet. Pure. */

import type { AlarmBody } from '@/shared/contract'
import type { SuppressionBody } from '@/shared/suppression_contract'

import { inOrder, isSetAside } from './alarm_order'

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
