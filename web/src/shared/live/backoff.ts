/** How long to wait before the next attempt to connect. */

const LEAST_MS = 500
const LONGEST_MS = 10_000

/**
 * Somewhere between half a second and a ceiling that doubles from one second to ten. The chance counts: after a restart of the server the
 * screens of a whole company must not come back in the same moment. `random` is in [0, 1).
 */
export function reconnectDelay(attempt: number, random: number): number {
  const ceiling = Math.min(LONGEST_MS, 2 * LEAST_MS * 2 ** Math.min(attempt, 10))
  return Math.round(LEAST_MS + (ceiling - LEAST_MS) * random)
}
