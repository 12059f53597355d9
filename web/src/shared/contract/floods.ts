/** The live feed's word of alarm floods, as `gateway/api/http/bodies.py` has it. */

import type { Time } from './contract'

/** Alarms by id: the first and probable cause, and what is folded under it. */
export interface GroupBody {
  cause: string
  members: string[]
}

/** A flood that goes on at a duty position, and the groups of one of its sites. */
export interface FloodBody {
  position: string
  site: string
  since: Time
  /** In the last ten minutes, on this site. */
  activations: number
  groups: GroupBody[]
}

/** After each snapshot, and whenever it changes; null when it is over. */
export interface LiveFlood {
  type: 'flood'
  seq: number
  site: string
  flood: FloodBody | null
}
