/** Which sound the room needs right now. Pure. */

import type { ConnectionState } from '@/shared/live/connection_state'
import type { AlarmBody, Priority } from '@/shared/contract/contract'

import { isUnacknowledged } from '@/control_room/alarms/alarm_order'

/** `connection_lost` sounds too: a silent screen would go unnoticed. */
export type SoundNeed = 'critical' | 'high' | 'connection_lost' | 'none'

const SOUNDING: ReadonlySet<Priority> = new Set<Priority>(['critical', 'high'])

export const LOST_CONNECTION = 'connection'

/** It is unacknowledged, not silenced for all, and its priority has a sound. */
export function mayBeSilenced(alarm: AlarmBody): boolean {
  return isUnacknowledged(alarm) && alarm.silenced_at === null && SOUNDING.has(alarm.priority)
}

/** A person silences this activation, not the alarm: a new activation or re-alarm sounds again. */
export function soundKey(alarm: AlarmBody): string {
  return `${alarm.id}/${alarm.activations}/${alarm.acknowledged_at ?? ''}`
}

export function soundNeed(
  alarms: Iterable<AlarmBody>,
  connection: ConnectionState,
  silenced: ReadonlySet<string>,
): SoundNeed {
  let need: SoundNeed = 'none'
  for (const alarm of alarms) {
    if (!mayBeSilenced(alarm) || silenced.has(soundKey(alarm))) continue
    if (alarm.priority === 'critical') return 'critical'
    if (alarm.priority === 'high') need = 'high'
  }
  if (need === 'none' && connection === 'stale' && !silenced.has(LOST_CONNECTION)) return 'connection_lost'
  return need
}

/** Everything that could sound at present, for the silence button. */
export function soundKeys(alarms: Iterable<AlarmBody>, connection: ConnectionState): Set<string> {
  const keys = new Set([...alarms].filter(isUnacknowledged).map(soundKey))
  if (connection === 'stale') keys.add(LOST_CONNECTION)
  return keys
}
