import { describe, expect, it } from 'vitest'

import { soundKeys, soundNeed } from '@/control_room/sound_need'

import { anAlarm } from './builders'

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

  it('tells of a lost connection, unless an alarm is louder or it was silenced', () => {
    expect(soundNeed([], 'stale', NOTHING)).toBe('connection_lost')
    expect(soundNeed([], 'reconnecting', NOTHING)).toBe('none')
    expect(soundNeed([anAlarm()], 'stale', NOTHING)).toBe('critical')
    expect(soundNeed([], 'stale', soundKeys([], 'stale'))).toBe('none')
  })
})
