/** What keeps alarms quiet, as the gateway's JSON has it. */

import type { Texts, Time } from './contract'

/** It lasts until it is returned; later than `planned_end`, that is an alarm of its own. */
export interface OutageBody {
  part: string
  since: Time
  planned_end: Time
  person: Texts
  second_person: Texts | null
  reason: string
}

/** Reasons may grow with the gateway. */
export type SuppressionReason =
  | 'shelved'
  | 'out_of_service'
  | 'maintenance'
  | 'parent'
  | 'rule'
  | (string & {})

export interface SuppressionBody {
  reason: SuppressionReason
  person: Texts | null
  second_person: Texts | null
  /** Id of the maintenance window, or of the alarm that is the cause. */
  source: string
  since: Time
  /** null: when its cause ends. */
  until: Time | null
  why: string
}

/** Give `until` or `minutes`; with `one_shot` alone it lasts until it clears, and for the longest time at most. */
export interface Shelve {
  version: number
  reason: string
  minutes?: number
  one_shot?: boolean
}

/** Planned work; `equipment` is "" where it is all of `kind` on the site. */
export interface WindowBody {
  id: string
  site: string
  kind: string
  equipment: string
  part: string
  zone: string
  starts_at: Time
  ends_at: Time
  phase: 'upcoming' | 'on' | 'over' | 'cancelled'
  reason: string
  person: Texts
  second_person: Texts | null
  /** Fire, entrapment and calls for help are kept quiet too: a second person has agreed. */
  life_safety: boolean
  version: number
}

export interface LiveMaintenance {
  type: 'maintenance'
  seq: number
  window: WindowBody
}
