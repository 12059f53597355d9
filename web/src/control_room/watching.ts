/** Whether somebody is really watching: only then may the page call a building quiet. Pure. */

import type { ConnectionState } from '@/shared/live/connection_state'

/**
 * `partly`: alarms are watched, something beside them is not; `blind`: alarms may be missing.
 */
export type Watching = 'fully' | 'partly' | 'blind'

/** The only component whose failure does not affect alarms. An unknown component is treated as vital. */
const BESIDE_ALARMS: ReadonlySet<string> = new Set(['history'])

export function watching(connection: ConnectionState, notReady: ReadonlyMap<string, string>): Watching {
  if (connection !== 'live') return 'blind'
  if (notReady.size === 0) return 'fully'
  return [...notReady.keys()].every((component) => BESIDE_ALARMS.has(component)) ? 'partly' : 'blind'
}
