import { describe, expect, it } from 'vitest'

import { ageOf, ageText, coarseAgeOf } from '@/shared/times/ages'
import { reconnectDelay } from '@/shared/live/backoff'
import { calendarDay, clockTime, isKnownZone, shortTime } from '@/shared/times/clock_times'
import { connectionState } from '@/shared/live/connection_state'
import { numberWithUnit, valueText } from '@/shared/language/value_words'

import { NOW } from './builders'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

function words(milliseconds: number, of = ageOf): string {
  return ageText(of(milliseconds), (key, { n, rest }) => `${key} ${n} ${rest}`)
}

describe('ages', () => {
  it.each([
    [-5_000, 'age.now 0 0'],
    [999, 'age.now 0 0'],
    [59_999, 'age.seconds 59 0'],
    [MINUTE, 'age.minutesRest 1 0'],
    [3 * MINUTE + 12 * SECOND, 'age.minutesRest 3 12'],
    [10 * MINUTE + 59 * SECOND, 'age.minutes 10 0'],
    [HOUR + 14 * MINUTE, 'age.hoursRest 1 14'],
    [DAY + 3 * HOUR, 'age.daysRest 1 3'],
  ])('of %d ms are %s', (age, expected) => {
    expect(words(age)).toBe(expected)
  })

  it.each([
    [9_999, 'age.now 0 0'],
    [47_000, 'age.seconds 40 0'],
    [3 * MINUTE + 12 * SECOND, 'age.minutes 3 0'],
    [HOUR + 14 * MINUTE, 'age.hours 1 0'],
  ])('on tiles change in steps: %d ms are %s', (age, expected) => {
    expect(words(age, coarseAgeOf)).toBe(expected)
  })
})

describe('clocks', () => {
  it('show the time of the site, not of the screen', () => {
    expect(clockTime(NOW, 'Asia/Shanghai')).toBe('02:00:00')
    expect(calendarDay(NOW, 'Asia/Shanghai')).toBe('2026-11-22')
  })

  it('name the day only when it is another one', () => {
    expect(shortTime(NOW - HOUR, NOW, 'Asia/Shanghai')).toBe('01:00:00')
    expect(shortTime(NOW - 3 * HOUR, NOW, 'Asia/Shanghai')).toBe('11-21 23:00:00')
  })

  it('go on in UTC where the zone is unknown', () => {
    expect(isKnownZone('Mars/Olympus')).toBe(false)
    expect(clockTime(NOW, 'Mars/Olympus')).toBe('18:00:00')
  })
})

describe('values', () => {
  it.each([
    [0.4234, 'MPa', '0.42 MPa'],
    [78.25, '°C', '78.3°C'],
    [48, '%', '48%'],
    [1480.6, '', '1481'],
    [0, 'm³/h', '0 m³/h'],
    [-0.001, 'mm', '0 mm'],
    [20.0, 'A', '20 A'],
    [Number.NaN, 'A', '– A'],
  ])('%d %s is written %s', (value, unit, expected) => {
    expect(numberWithUnit(value, unit)).toBe(expected)
  })

  it('are said in the words of their field before any other', () => {
    const known: Record<string, string> = { 'value.running.false': 'stopped', 'value.any.false': 'no', 'value.any.off': 'off' }
    const wordOf = (key: string): string | null => known[key] ?? null
    expect(valueText('running', false, '', wordOf)).toBe('stopped')
    expect(valueText('leak', false, '', wordOf)).toBe('no')
    expect(valueText('mode', 'off', '', wordOf)).toBe('off')
    expect(valueText('floor', '-2F', '', wordOf)).toBe('-2F')
    expect(valueText('mode', 'turbo', '', wordOf)).toBe('turbo')
  })
})

describe('the connection', () => {
  it.each([
    ['before anything came', false, null, 'reconnecting'],
    ['while messages come', true, NOW - 1_000, 'live'],
    ['just after it broke', false, NOW - 4_000, 'reconnecting'],
    ['when the picture is old', false, NOW - 5_001, 'stale'],
    ['when it looks open but nothing comes', true, NOW - 5_001, 'stale'],
  ] as const)('%s', (_case, following, last, expected) => {
    expect(connectionState(following, last, NOW)).toBe(expected)
  })

  it('is tried again after half a second at the least and ten at the most', () => {
    for (const attempt of [0, 1, 5, 500]) {
      expect(reconnectDelay(attempt, 0)).toBe(500)
      expect(reconnectDelay(attempt, 0.999_999)).toBeLessThanOrEqual(10_000)
    }
    expect(reconnectDelay(0, 0.999_999)).toBeLessThanOrEqual(1_000)
    expect(reconnectDelay(9, 0.999_999)).toBeGreaterThan(9_900)
  })
})
