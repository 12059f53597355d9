/** What could not be read and what nobody reads: the JSON of `gateway/api/platform/quarantine_bodies.py`, field by field. */

import type { Time } from './contract'

export interface QuarantineSummaryBody {
  /** Empty where nobody can say of which site it is. */
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
