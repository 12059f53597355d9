/** How long ago something was, in the words of the page. */

export interface Age {
  /** Key under `age` in the locales. */
  key: 'now' | 'seconds' | 'minutes' | 'hours' | 'days'
  n: number
  /** The rest in the next smaller unit; null where it no longer matters. */
  rest: number | null
}

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** To the second within ten minutes, to the minute within a day, to the hour from then on. */
export function ageOf(milliseconds: number): Age {
  const age = Math.max(0, milliseconds)
  if (age < SECOND) return { key: 'now', n: 0, rest: null }
  if (age < MINUTE) return { key: 'seconds', n: Math.floor(age / SECOND), rest: null }
  if (age < 10 * MINUTE) return { key: 'minutes', n: Math.floor(age / MINUTE), rest: Math.floor((age % MINUTE) / SECOND) }
  if (age < HOUR) return { key: 'minutes', n: Math.floor(age / MINUTE), rest: null }
  if (age < DAY) return { key: 'hours', n: Math.floor(age / HOUR), rest: Math.floor((age % HOUR) / MINUTE) }
  return { key: 'days', n: Math.floor(age / DAY), rest: Math.floor((age % DAY) / HOUR) }
}

/**
 * The same in steps: for hundreds of tiles, where a number that changes each second on all of them says
 * nothing and costs a picture. Below ten seconds it is simply now.
 */
export function coarseAgeOf(milliseconds: number): Age {
  const age = Math.max(0, milliseconds)
  if (age < 10 * SECOND) return { key: 'now', n: 0, rest: null }
  if (age < MINUTE) return { key: 'seconds', n: Math.floor(age / (10 * SECOND)) * 10, rest: null }
  return { ...ageOf(age), rest: null }
}

/** The age in words; `say` looks a key of the locales up. */
export function ageText(age: Age, say: (key: string, numbers: { n: number; rest: number }) => string): string {
  const key = age.rest === null ? `age.${age.key}` : `age.${age.key}Rest`
  return say(key, { n: age.n, rest: age.rest ?? 0 })
}
