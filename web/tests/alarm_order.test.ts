import { describe, expect, it } from 'vitest'

import { changedPlaces, countUnacknowledged, inOrder, neighbour, worstByEquipment } from '@/control_room/alarms/alarm_order'
import { inTicketOrder } from '@/control_room/tickets/ticket_order'
import type { Priority } from '@/shared/contract/contract'

import { ago, anAlarm, aTicket } from './builders'

describe('the order of alarms', () => {
  it('is critical first, then who waits for an answer, then the newest', () => {
    const alarms = [
      anAlarm({ id: 'low-new', priority: 'low', raised_at: ago(1_000) }),
      anAlarm({ id: 'critical-answered', state: 'acknowledged', raised_at: ago(2_000) }),
      anAlarm({ id: 'high', priority: 'high' }),
      anAlarm({ id: 'critical-old', raised_at: ago(90_000) }),
      anAlarm({ id: 'critical-returned', state: 'returned_unacknowledged', raised_at: ago(30_000) }),
      anAlarm({ id: 'critical-latched', state: 'latched_acknowledged', raised_at: ago(1_000) }),
    ]
    expect(inOrder(alarms).map((alarm) => alarm.id)).toEqual([
      'critical-returned',
      'critical-old',
      'critical-latched',
      'critical-answered',
      'high',
      'low-new',
    ])
  })

  it('does not depend on the order of arrival when all else is equal', () => {
    const [a, b] = [anAlarm({ id: 'a' }), anAlarm({ id: 'b' })]
    expect(inOrder([b, a])).toEqual(inOrder([a, b]))
  })

  it('puts a priority that this page does not know on top: too loud is better than unseen', () => {
    const unknown = anAlarm({ id: 'new', priority: 'extreme' as Priority })
    expect(inOrder([anAlarm(), unknown])[0]).toBe(unknown)
  })
})

describe('figures over alarms', () => {
  const alarms = [
    anAlarm({ id: '1', priority: 'low' }),
    anAlarm({ id: '2', priority: 'high', state: 'acknowledged' }),
    anAlarm({ id: '3', priority: 'high', state: 'latched_unacknowledged' }),
    anAlarm({ id: '4', priority: 'critical', equipment: 'SZ01:lift-2' }),
  ]

  it('count only who waits for an answer', () => {
    expect(countUnacknowledged(alarms)).toEqual({ critical: 1, high: 1, medium: 0, low: 1 })
  })

  it('know the worst of each equipment, answered or not', () => {
    expect([...worstByEquipment(alarms)]).toEqual([
      ['SZ01:lift-1', 'high'],
      ['SZ01:lift-2', 'critical'],
    ])
  })
})

describe('rows under the pointer', () => {
  it.each([
    ['nothing moved', ['a', 'b'], ['a', 'b'], []],
    ['a new alarm pushes others down', ['a', 'b'], ['n', 'a', 'b'], ['n', 'a']],
    ['the first one leaves', ['a', 'b'], ['b'], ['b']],
    ['a new one comes where nothing was', ['a'], ['a', 'b'], []],
    ['the list fills for the first time', [], ['a', 'b'], []],
  ])('%s', (_case, before, after, moved) => {
    expect(changedPlaces(before, after)).toEqual(moved)
  })
})

describe('the arrow keys', () => {
  it.each([
    ['select the first row when none is selected', null, 1, 'a'],
    ['go down', 'a', 1, 'b'],
    ['stop at the end', 'b', 1, 'b'],
    ['stop at the beginning', 'a', -1, 'a'],
    ['start over when the selected alarm is gone', 'x', 1, 'a'],
  ] as const)('%s', (_case, selected, step, expected) => {
    expect(neighbour(['a', 'b'], selected, step)).toBe(expected)
  })

  it('select nothing in an empty list', () => {
    expect(neighbour([], null, 1)).toBeNull()
  })
})

describe('the order of tickets', () => {
  it('is emergencies first, then what has waited longest', () => {
    const tickets = [
      aTicket({ number: 'new', opened_at: ago(1_000) }),
      aTicket({ number: 'old', opened_at: ago(99_000) }),
      aTicket({ number: 'E', type: 'emergency', opened_at: ago(500) }),
    ]
    expect(inTicketOrder(tickets).map((ticket) => ticket.number)).toEqual(['E', 'old', 'new'])
  })
})
