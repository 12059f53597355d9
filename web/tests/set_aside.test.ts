import { describe, expect, it } from 'vitest'

import { countUnacknowledged, worstByEquipment } from '@/control_room/alarms/alarm_order'
import { causedBy, endOf, isShelved, sorted } from '@/control_room/suppression/suppressed_alarms'
import { soundKeys, soundNeed } from '@/control_room/sound/sound_need'
import type { AlarmBody } from '@/shared/contract/contract'

import { ago, anAlarm, aSuppression } from './builders'

const quiet = anAlarm({ id: 'q', annunciated: false, suppressions: [aSuppression()] })

describe('an alarm that something keeps quiet', () => {
  it('does not sound and is not counted, whatever its state', () => {
    expect(soundNeed([quiet], 'live', new Set())).toBe('none')
    expect(soundKeys([quiet], 'live').size).toBe(0)
    expect(countUnacknowledged([quiet, anAlarm()])).toMatchObject({ critical: 1 })
    expect(worstByEquipment([quiet]).size).toBe(0)
  })

  it('stands in a group of its own', () => {
    const { heard, setAside } = sorted([quiet, anAlarm()])
    expect([heard.map((alarm) => alarm.id), setAside.map((alarm) => alarm.id)]).toEqual([['a1'], ['q']])
    expect(isShelved(quiet)).toBe(true)
  })

  it('sounds again when it is released', () => {
    expect(soundNeed([{ ...quiet, annunciated: true, suppressions: [] }], 'live', new Set())).toBe('critical')
  })

  it('is heard where the gateway does not say', () => {
    const older: Partial<AlarmBody> = anAlarm()
    delete older.annunciated
    expect(soundNeed([older as AlarmBody], 'live', new Set())).toBe('critical')
  })
})

describe('the end of a reason', () => {
  it.each([
    ['a time', aSuppression(), 'setAside.until', Date.parse(ago(-60_000))],
    ['a return to service', aSuppression({ reason: 'out_of_service', until: null }), 'setAside.untilReturned', null],
    ['its cause', aSuppression({ reason: 'parent', until: null }), 'setAside.untilCauseEnds', null],
  ])('is %s', (_what, item, key, time) => {
    expect(endOf(item)).toEqual({ key, time })
  })
})

describe('what one alarm explains', () => {
  const by = (id: string, ...causes: [string, string][]): AlarmBody =>
    anAlarm({
      id,
      annunciated: false,
      suppressions: causes.map(([reason, source]) => aSuppression({ reason, source, person: null, until: null })),
    })

  it('is folded under it, whichever the reason, and once', () => {
    const caused = causedBy([by('a', ['parent', 'm']), by('b', ['parent', 'm'], ['rule', 'm']), by('c', ['rule', 'd'])])
    expect([...caused].map(([cause, alarms]) => [cause, alarms.map((alarm) => alarm.id)])).toEqual([
      ['m', ['a', 'b']],
      ['d', ['c']],
    ])
  })

  it('is not what somebody has set aside', () => {
    expect(causedBy([quiet, by('a', ['maintenance', 'w'])]).size).toBe(0)
  })
})
