/** Quarantined messages and unread topics: the JSON of `gateway/api/platform/quarantine_bodies.py`, field by field. */

import type { Time } from './contract'

export interface QuarantineSummaryBody {
  /** Empty if the site is unknown. */
  site: string
  messages: number
  received_at: Time
  topic: string
  reason: string
}

export interface UnreadTopicBody {
  topic: string
  reason: string
  detail: string
  first_at: Time
  last_at: Time
  messages: number
  sample: string
  encoding: string
}
