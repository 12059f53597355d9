/** Times of the day as the clock on the site's wall shows them, wherever the screen is. */

const formats = new Map<string, Intl.DateTimeFormat>()

function format(timeZone: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${timeZone} ${Object.keys(options).join()}`
  let found = formats.get(key)
  if (!found) {
    // Swedish writes dates as ISO does; this way both languages read the same digits.
    found = new Intl.DateTimeFormat('sv-SE', { ...options, timeZone: known(timeZone), hourCycle: 'h23' })
    formats.set(key, found)
  }
  return found
}

/** A zone that the browser does not know must not take the page down: UTC, and `isKnownZone` lets the page say so. */
function known(timeZone: string): string {
  return isKnownZone(timeZone) ? timeZone : 'UTC'
}

export function isKnownZone(timeZone: string): boolean {
  try {
    new Intl.DateTimeFormat('sv-SE', { timeZone })
    return true
  } catch {
    return false
  }
}

/** 02:47:09 */
export function clockTime(at: number, timeZone: string): string {
  return format(timeZone, { hour: '2-digit', minute: '2-digit', second: '2-digit' }).format(at)
}

/** 2026-11-22 */
export function calendarDay(at: number, timeZone: string): string {
  return format(timeZone, { year: 'numeric', month: '2-digit', day: '2-digit' }).format(at)
}

/** The time alone for today, with the day before it for any other. */
export function shortTime(at: number, now: number, timeZone: string): string {
  const day = calendarDay(at, timeZone)
  const time = clockTime(at, timeZone)
  return day === calendarDay(now, timeZone) ? time : `${day.slice(5)} ${time}`
}
