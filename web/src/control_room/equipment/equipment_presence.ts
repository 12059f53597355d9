/** Whether an equipment's values may still be believed. Pure. */

import type { EquipmentBody } from '@/shared/contract/contract'

/** `silent`: it has not said that it is offline, but nothing has come for longer than its kind ever pauses. */
export type Presence = 'online' | 'offline' | 'silent' | 'never_seen'

const MINUTE = 60_000

/**
 * Kinds that report their state all the time. Others speak when something happens: a quiet hour of theirs is
 * no sign of trouble, and only their own `offline` counts.
 */
const LONGEST_PAUSE_MS: Readonly<Record<string, number>> = {
  elevator: 2 * MINUTE,
  pump: 2 * MINUTE,
  sensor: 15 * MINUTE,
}

export function presenceOf(equipment: EquipmentBody, now: number): Presence {
  if (equipment.online === false) return 'offline'
  if (equipment.last_seen === null) return 'never_seen'
  const pause = LONGEST_PAUSE_MS[equipment.kind]
  return pause !== undefined && now - Date.parse(equipment.last_seen) > pause ? 'silent' : 'online'
}
