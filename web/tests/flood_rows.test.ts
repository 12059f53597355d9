import { describe, expect, it } from 'vitest'

import { inOrder } from '@/control_room/alarms/alarm_order'
import { foldedRows } from '@/control_room/alarms/flood_rows'
import type { AlarmBody } from '@/shared/contract/contract'
import type { FloodBody } from '@/shared/contract/floods'

import { ago, anAlarm } from './builders'

const pump = (id: string, given: Partial<AlarmBody> = {}): AlarmBody =>
  anAlarm({ id, priority: 'high', life_safety: false, ...given })
const flood = (...groups: FloodBody['groups']): FloodBody[] => [
  { position: 'control room', site: 'SZ01', since: ago(0), activations: 14, groups },
]
const none: ReadonlySet<string> = new Set()
const ids = (alarms: AlarmBody[], floods: FloodBody[], unfolded = none): string[] =>
  foldedRows(inOrder(alarms), floods, unfolded).map((row) => row.alarm.id)

describe('the list during a flood', () => {
  const alarms = [pump('a', { raised_at: ago(9_000) }), pump('b'), pump('c', { state: 'acknowledged' }), pump('alone')]
  const group = { cause: 'a', members: ['b', 'c'] }

  it('is the plain list while there is none', () => {
    expect(foldedRows(alarms, [], none)).toHaveLength(4)
    expect(foldedRows(alarms, [], none).every((row) => row.folded === 0 && !row.member)).toBe(true)
  })

  it('folds what belongs together under its cause and says how many wait', () => {
    const rows = foldedRows(inOrder(alarms), flood(group), none)
    expect(rows.map((row) => [row.alarm.id, row.folded, row.waiting])).toEqual([
      ['a', 2, 1],
      ['alone', 0, 0],
    ])
  })

  it('shows everything of a group that is unfolded, and nothing twice', () => {
    expect(ids(alarms, flood(group), new Set(['a']))).toEqual(['a', 'b', 'c', 'alone'])
  })

  it('stands where the first of the group would stand, though its cause is answered', () => {
    const answered = [pump('a', { state: 'acknowledged' }), pump('b', { raised_at: ago(1) }), pump('other')]
    expect(ids(answered, flood({ cause: 'a', members: ['b'] }))).toEqual(['a', 'other'])
  })

  it('is headed by the first that is left when the cause has closed', () => {
    expect(ids([pump('b'), pump('c')], flood(group))).toEqual(['b'])
  })

  it('never folds what is critical, whatever the server says', () => {
    const fire = anAlarm({ id: 'fire' })
    expect(ids([...alarms, fire], flood({ cause: 'a', members: ['b', 'c', 'fire'] }))).toEqual(['fire', 'a', 'alone'])
  })
})

describe('the alarms of one incident', () => {
  const cause = (id: string, given: Partial<AlarmBody> = {}): AlarmBody =>
    anAlarm({ id, kind: 'sensor', ticket: 'E-SZ01-20261122-0001', ...given })
  const room = [cause('smoke', { raised_at: ago(10) }), cause('heat', { state: 'acknowledged' }), cause('gas')]
  const hot = pump('hot', { kind: 'sensor', ticket: 'E-SZ01-20261122-0001' })

  it('are one row, with the others and how many of them wait beneath it', () => {
    const rows = foldedRows(inOrder([...room, hot]), [], none)
    expect(rows.map((row) => [row.alarm.id, row.reason, row.folded, row.waiting])).toEqual([['smoke', 'incident', 3, 2]])
  })

  it('are all there when unfolded, and stay so when another one comes first', () => {
    const opened = new Set(['E-SZ01-20261122-0001'])
    expect(ids([...room, hot], [], opened)).toEqual(['smoke', 'gas', 'heat', 'hot'])
    const again = cause('again', { raised_at: ago(0) })
    expect(ids([...room, again], [], opened)).toEqual(['again', 'smoke', 'gas', 'heat'])
  })

  it('never hide an unacknowledged alarm under one that is acknowledged', () => {
    const answered = room.map((alarm) => ({ ...alarm, state: 'acknowledged' as const }))
    expect(ids([...answered, cause('new')], [])).toEqual(['new'])
  })

  it('join no other incident, and no repair', () => {
    const other = cause('other', { ticket: 'E-SZ01-20261122-0002' })
    expect(ids([cause('a'), other, cause('r', { ticket: 'R-SZ01-20261122-0001' }), cause('none', { ticket: null })], []))
      .toHaveLength(4)
  })

  it('are shown one by one where they are points of a fire panel or alarms of a lift', () => {
    for (const kind of ['fire_panel', 'elevator']) {
      expect(ids(room.map((alarm) => ({ ...alarm, kind })), [])).toHaveLength(3)
    }
  })
})
