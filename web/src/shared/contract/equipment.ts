/** Data about equipment that is not adopted or is retired. */

import type { Time } from '@/shared/contract/contract'

/** The last message, as it was sent. */
export interface LastMessageBody {
  topic: string
  received_at: Time
  payload: string
  encoding: string
  size: number
  /** Messages since its first message, or since it was retired. */
  count: number
}
