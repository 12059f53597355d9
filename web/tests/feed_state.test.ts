import { describe, expect, it } from 'vitest'

import type { LiveMessage, LiveTicket, TicketBody } from '@/shared/contract/contract'
import { inUse } from '@/control_room/equipment/equipment_groups'
import {
  applyAlarm,
  applyMessages,
  EMPTY_FEED,
  type FeedState,
  forgetOldClosed,
  JUST_CLOSED_MS,
} from '@/shared/live/feed_state'

import { aBeat, ago, anAlarm, anAlarmMessage, anEquipment, aReading, aSnapshot, aTicket, NOW } from './builders'

function after(...messages: LiveMessage[]): FeedState {
  const { state, outcome } = applyMessages(EMPTY_FEED, messages, NOW)
  expect(outcome).toBe('applied')
  return state
}

function ticketMessage(seq: number, given: Partial<TicketBody>): LiveTicket {
  return { type: 'ticket', seq, ticket: aTicket(given) }
}

describe('numbers', () => {
  it('are followed one by one from the snapshot on', () => {
    expect(after(aSnapshot({ seq: 7 }), aBeat(8), aBeat(9)).seq).toBe(9)
  })

  it.each([
    ['a message is missing', 12],
    ['a message comes twice', 10],
    ['a message comes late', 9],
  ])('show a gap when %s', (_case, seq) => {
    const before = after(aSnapshot({ seq: 10 }))
    const { state, outcome } = applyMessages(before, [anAlarmMessage(seq)], NOW)
    expect(outcome).toBe('gap')
    expect(state.alarms.size).toBe(0)
  })

  it('keep what came before the gap in the same batch', () => {
    const { state, outcome } = applyMessages(EMPTY_FEED, [aSnapshot(), anAlarmMessage(11), aBeat(13)], NOW)
    expect(outcome).toBe('gap')
    expect(state.alarms.size).toBe(1)
  })

  it('mean nothing before the first snapshot', () => {
    expect(applyMessages(EMPTY_FEED, [aBeat(1)], NOW).outcome).toBe('no_snapshot')
  })

  it('count for subjects that this page does not know', () => {
    const unknown = { type: 'round', seq: 11 } as unknown as LiveMessage
    expect(after(aSnapshot(), unknown, aBeat(12)).seq).toBe(12)
  })
})

describe('alarms', () => {
  it('are replaced by the same or a higher version', () => {
    const open = aSnapshot({ alarms: [anAlarm({ version: 3 })] })
    const same = after(open, anAlarmMessage(11, { version: 3, state: 'acknowledged' }))
    expect(same.alarms.get('a1')?.state).toBe('acknowledged')
    const higher = after(open, anAlarmMessage(11, { version: 4, state: 'acknowledged' }))
    expect(higher.alarms.get('a1')?.version).toBe(4)
  })

  it('are not turned back by a lower version', () => {
    const state = after(
      aSnapshot({ alarms: [anAlarm({ version: 3, state: 'acknowledged' })] }),
      anAlarmMessage(11, { version: 2, state: 'unacknowledged' }),
    )
    expect(state.alarms.get('a1')?.state).toBe('acknowledged')
  })

  it('are not turned back by a feed that is behind the answer to a request', () => {
    const answered = applyAlarm(after(aSnapshot({ alarms: [anAlarm()] })), anAlarm({ version: 2, state: 'acknowledged' }), NOW)
    const { state } = applyMessages(answered, [anAlarmMessage(11, { version: 1 })], NOW)
    expect(state.alarms.get('a1')?.state).toBe('acknowledged')
  })

  it('leave the list when normal and stay among the just closed for ten minutes', () => {
    const state = after(
      aSnapshot({ alarms: [anAlarm()] }),
      anAlarmMessage(11, { version: 2, state: 'normal', closed_at: ago(0) }),
    )
    expect(state.alarms.size).toBe(0)
    expect(state.justClosed.get('a1')).toMatchObject({ closedAt: NOW, seen: true })
    expect(forgetOldClosed(state, NOW + JUST_CLOSED_MS - 1)).toBe(state)
    expect(forgetOldClosed(state, NOW + JUST_CLOSED_MS).justClosed.size).toBe(0)
  })

  it('do not come back from the just closed by a lower version, but do by a higher one', () => {
    const closed = after(aSnapshot(), anAlarmMessage(11, { version: 5, state: 'normal', closed_at: ago(0) }))
    expect(applyAlarm(closed, anAlarm({ version: 4 }), NOW).alarms.size).toBe(0)
    const again = applyAlarm(closed, anAlarm({ version: 6 }), NOW)
    expect([again.alarms.size, again.justClosed.size]).toEqual([1, 0])
  })

  it('that ended while we were away are named as such', () => {
    const state = after(aSnapshot({ alarms: [anAlarm()] }), aSnapshot({ seq: 50, alarms: [anAlarm({ id: 'a2' })] }))
    expect([...state.alarms.keys()]).toEqual(['a2'])
    expect(state.justClosed.get('a1')).toMatchObject({ seen: false, closedAt: NOW })
  })
})

describe('tickets', () => {
  it.each(['closed', 'cancelled', 'stood_down', 'reviewed'])('leave the list when %s', (gone) => {
    const state = after(aSnapshot({ tickets: [aTicket()] }), ticketMessage(11, { version: 2, state: gone }))
    expect(state.tickets.size).toBe(0)
  })

  it('follow the law of versions', () => {
    const open = aSnapshot({ tickets: [aTicket({ version: 2, state: 'assigned' })] })
    expect(after(open, ticketMessage(11, { version: 1 })).tickets.get(aTicket().number)?.state).toBe('assigned')
    expect(after(open, ticketMessage(11, { version: 3, state: 'done' })).tickets.get(aTicket().number)?.state).toBe('done')
  })
})

describe('equipment', () => {
  it('takes new values beside the old ones', () => {
    const lift = anEquipment({ latest: { door: { value: 'open', at: ago(9_000) } } })
    const state = after(aSnapshot({ equipment: [lift] }), aReading(11, { floor: { value: '7', at: ago(0) } }))
    expect(state.equipment.get(lift.id)?.latest).toMatchObject({ door: { value: 'open' }, floor: { value: '7' } })
  })

  it('shows what the server calls the current value, whatever its time: a clock may have been set back', () => {
    const lift = anEquipment({ latest: { floor: { value: '7', at: ago(1_000) } } })
    const state = after(aSnapshot({ equipment: [lift] }), aReading(11, { floor: { value: '3', at: ago(60_000) } }))
    expect(state.equipment.get(lift.id)?.latest.floor?.value).toBe('3')
  })

  it('that is retired keeps its name for alarms and tickets and gets no tile; a former code is forgotten', () => {
    const lift = anEquipment()
    const retired = { ...lift, version: 2, retired_at: ago(0) }
    const state = after(aSnapshot({ equipment: [lift] }), { type: 'equipment', seq: 11, equipment: retired })
    expect([state.equipment.get(lift.id)?.name, inUse(state.equipment.values())]).toEqual([lift.name, []])
    const renamed = { ...lift, id: 'SZ01:L-1', code: 'L-1', version: 2, former_codes: [lift.code] }
    const other = after(aSnapshot({ equipment: [lift] }), { type: 'equipment', seq: 11, equipment: renamed })
    expect([...other.equipment.keys()]).toEqual(['SZ01:L-1'])
  })

  it('that is unknown gets no tile from a reading alone', () => {
    expect(after(aSnapshot(), aReading(11, {})).equipment.size).toBe(0)
  })

  it('of an earlier state stays as it was: states are never changed in place', () => {
    const before = after(aSnapshot({ equipment: [anEquipment()] }))
    applyMessages(before, [aReading(11, { floor: { value: '7', at: ago(0) } })], NOW)
    expect(before.equipment.get('SZ01:lift-1')?.latest).toEqual({})
  })
})

describe('the platform', () => {
  it('shows which components are not ready, and when they are again', () => {
    const components = { broker: 'ready', alarms: 'standing by', history: 'waiting for the store' }
    const state = after(aSnapshot(), { type: 'system', seq: 11, ready: false, components })
    expect([...state.notReady]).toEqual([['history', 'waiting for the store']])
    expect(applyMessages(state, [{ type: 'system', seq: 12, ready: true, components: {} }], NOW).state.notReady.size).toBe(0)
  })

  it('tells what a part that works has to say', () => {
    const components = { broker: 'ready', tickets: 'ready; 1 alarms have no ticket, handle them by hand' }
    const state = after(aSnapshot(), { type: 'system', seq: 11, ready: true, components })
    expect([...state.notReady]).toEqual([['tickets', 'ready; 1 alarms have no ticket, handle them by hand']])
  })

  it('keeps its last word over a new snapshot until it speaks again', () => {
    const troubled = after(aSnapshot(), { type: 'system', seq: 11, ready: false, components: { broker: 'down' } })
    expect(applyMessages(troubled, [aSnapshot({ seq: 1 })], NOW).state.notReady.size).toBe(1)
  })

  it('sets the clock, whatever the clock of this machine says', () => {
    expect(after(aSnapshot(), aBeat(11, NOW + 90_000)).clockOffset).toBe(90_000)
  })
})

describe('planned work', () => {
  const window = {
    id: 'w', site: 'SZ01', kind: '', equipment: 'SZ01:lift-1', part: '', zone: '', starts_at: ago(0), ends_at: ago(-60_000),
    phase: 'on' as const, reason: 'new ropes', person: { en: 'Li', 'zh-CN': '李' }, second_person: null,
    life_safety: false, version: 2,
  }

  it('is shown while it is on or to come, and never turned back', () => {
    const { state } = applyMessages(EMPTY_FEED, [aSnapshot({ maintenance: [window] })], NOW)
    expect([...state.maintenance.keys()]).toEqual(['w'])
    const older = { ...window, version: 1, phase: 'cancelled' as const }
    const still = applyMessages(state, [{ type: 'maintenance', seq: 11, window: older }], NOW).state
    expect(still.maintenance.get('w')?.phase).toBe('on')
    const over = { ...window, phase: 'over' as const }
    expect(applyMessages(still, [{ type: 'maintenance', seq: 12, window: over }], NOW).state.maintenance.size).toBe(0)
  })
})
