/** How current the data on the screen is. */

export type ConnectionState = 'live' | 'reconnecting' | 'stale'

/** Silence after which data is stale and the connection is closed: the server sends each second. */
export const SILENCE_LIMIT_MS = 5_000

/**
 * `live`: a snapshot was taken over this connection and the server has sent recently.
 * `reconnecting`: the connection is being made and the data on the screen, if any, is fresh still.
 * `stale`: what is on the screen is old.
 */
export function connectionState(following: boolean, lastMessageAt: number | null, now: number): ConnectionState {
  if (lastMessageAt === null) return 'reconnecting'
  if (now - lastMessageAt > SILENCE_LIMIT_MS) return 'stale'
  return following ? 'live' : 'reconnecting'
}
