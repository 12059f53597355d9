import { describe, expect, it } from 'vitest'

import { mayBeSilenced, soundKeys, soundNeed } from '@/control_room/sound/sound_need'

import { ago, anAlarm } from './builders'

const NOTHING = new Set<string>()

describe('sound', () => {
  it.each([
    ['critical waits', anAlarm(), 'critical'],
    ['high waits', anAlarm({ priority: 'high' }), 'high'],
    ['high has returned but nobody has answered', anAlarm({ priority: 'high', state: 'returned_unacknowledged' }), 'high'],
    ['medium waits', anAlarm({ priority: 'medium' }), 'none'],
    ['critical was answered', anAlarm({ state: 'acknowledged' }), 'none'],
  ])('when %s', (_case, alarm, expected) => {
    expect(soundNeed([alarm], 'live', NOTHING)).toBe(expected)
  })

  it('is silenced for what sounds, not for what comes after', () => {
    const first = anAlarm({ priority: 'high' })
    const silenced = soundKeys([first], 'live')
    expect(soundNeed([first], 'live', silenced)).toBe('none')
    expect(soundNeed([first, anAlarm({ id: 'a2' })], 'live', silenced)).toBe('critical')
  })

  it('comes again when a silenced alarm becomes active again', () => {
    const silenced = soundKeys([anAlarm()], 'live')
    expect(soundNeed([anAlarm({ activations: 2 })], 'live', silenced)).toBe('critical')
  })

  it('stops at every console when somebody has silenced the alarm, and nothing else falls silent with it', () => {
    const silenced = anAlarm({ silenced_at: ago(5_000) })
    expect(soundNeed([silenced], 'live', NOTHING)).toBe('none')
    expect(soundNeed([silenced, anAlarm({ id: 'a2', priority: 'high' })], 'live', NOTHING)).toBe('high')
  })

  it('comes again when what was silenced on this page and acknowledged asks again', () => {
    const silenced = soundKeys([anAlarm()], 'live')
    expect(soundNeed([anAlarm({ acknowledged_at: ago(1_000) })], 'live', silenced)).toBe('critical')
  })

  it.each([
    ['waits and sounds', anAlarm(), true],
    ['is silenced already', anAlarm({ silenced_at: ago(5_000) }), false],
    ['was acknowledged', anAlarm({ state: 'acknowledged' }), false],
    ['has no sound', anAlarm({ priority: 'low' }), false],
  ])('may be stopped for an alarm that %s', (_case, alarm, expected) => {
    expect(mayBeSilenced(alarm)).toBe(expected)
  })

  it('tells of a lost connection, unless an alarm is louder or it was silenced', () => {
    expect(soundNeed([], 'stale', NOTHING)).toBe('connection_lost')
    expect(soundNeed([], 'reconnecting', NOTHING)).toBe('none')
    expect(soundNeed([anAlarm()], 'stale', NOTHING)).toBe('critical')
    expect(soundNeed([], 'stale', soundKeys([], 'stale'))).toBe('none')
  })
})
