/** What a request would change, in words short enough for a line. Pure. */

import type { ApprovalChange } from '@/shared/contract/approvals'

export interface Difference {
  field: string
  before: string
  after: string
}

/** Fields that count or name, and say nothing to who decides. */
const SILENT: ReadonlySet<string> = new Set([
  'version', 'site', 'code', 'kind', 'since', 'person', 'second_person', 'part',
])
/** Times of the record are epoch milliseconds; no other number of it is as large. */
const FIRST_TIME = 1e12

/**
 * The first change of the request. Its consequences (an alarm is silenced) are not repeated.
 * `time` puts epoch milliseconds as the clock on the site's wall shows them.
 */
export function differences(changes: readonly ApprovalChange[], time: (at: number) => string): Difference[] {
  const { before = null, after = null } = changes[0] ?? {}
  const names = new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])
  return [...names]
    .filter((name) => !SILENT.has(name))
    .filter((name) => !(before === null && after?.[name] === false))
    .map((field) => ({ field, before: textOf(before?.[field], time), after: textOf(after?.[field], time) }))
    .filter((found) => found.before !== found.after)
}

/** How many open alarms end because their equipment is retired. */
export function endedAlarms(changes: readonly ApprovalChange[]): number {
  return changes.filter((change) => change.act === 'alarm.equipment_retired').length
}

/** The reason of the request, if given. */
export function saidWhy(body: unknown): string {
  const { reason, note } = (body ?? {}) as { reason?: unknown; note?: unknown }
  return [reason, note].filter((text) => typeof text === 'string' && text !== '').join(' ')
}

/** A text in both languages is shown in both: the approver must see all texts. */
function textOf(value: unknown, time: (at: number) => string): string {
  if (value === undefined || value === null) return ''
  if (typeof value === 'string') return value
  if (typeof value === 'number' && value > FIRST_TIME) return time(value)
  const texts = typeof value === 'object' ? Object.values(value).filter((text) => text !== '') : [null]
  if (!texts.every((text) => typeof text === 'string')) return JSON.stringify(value)
  return [...new Set(texts)].join(' / ')
}
