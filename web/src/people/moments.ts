/** Moments in lists about accounts: day and minute, in the viewer's time zone. */

import { calendarDay, clockTime } from '@/shared/times/clock_times'

const zone = new Intl.DateTimeFormat().resolvedOptions().timeZone

export function momentText(time: string): string {
  const at = Date.parse(time)
  return `${calendarDay(at, zone)} ${clockTime(at, zone).slice(0, 5)}`
}
