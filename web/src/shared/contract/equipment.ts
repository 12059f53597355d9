/** What is said of equipment that nobody has adopted, or that is retired. */

import type { Time } from '@/shared/contract/contract'

/** The last message, as it was sent. */
export interface LastMessageBody {
  topic: string
  received_at: Time
  payload: string
  encoding: string
  size: number
  /** Messages since it was heard first, or retired. */
  count: number
}
