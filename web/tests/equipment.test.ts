import { describe, expect, it } from 'vitest'

import { doubtfulWords } from '@/control_room/alarms/doubtful_values'
import { groupByKind } from '@/control_room/equipment/equipment_groups'
import { presenceOf } from '@/control_room/equipment/equipment_presence'
import { isPlausible, tileFields } from '@/control_room/equipment/tile_fields'
import type { ProfileBody } from '@/shared/contract/contract'

import { ago, anEquipment, NOW } from './builders'

const MINUTE = 60_000

function aProfile(kind: string, ...names: string[]): ProfileBody {
  const label = { en: kind, 'zh-CN': kind }
  return { kind, name: label, fields: names.map((name) => ({ name, label, type: 'number', unit: '', plausible: null, sentinels: [] })) }
}

describe('presence', () => {
  it.each([
    ['speaks', anEquipment(), 'online'],
    ['has said nothing about being online but sends', anEquipment({ online: null }), 'online'],
    ['said that it is offline', anEquipment({ online: false }), 'offline'],
    ['never spoke', anEquipment({ online: null, last_seen: null }), 'never_seen'],
    ['is a lift and silent for three minutes', anEquipment({ last_seen: ago(3 * MINUTE) }), 'silent'],
    ['is a fire panel and quiet for a day', anEquipment({ kind: 'fire_panel', last_seen: ago(1_440 * MINUTE) }), 'online'],
  ])('of one that %s', (_case, equipment, expected) => {
    expect(presenceOf(equipment, NOW)).toBe(expected)
  })
})

describe('groups', () => {
  it('stand in the order of the profiles, with unknown kinds last, and numbers count as numbers', () => {
    const profiles = new Map([
      ['pump', aProfile('pump')],
      ['elevator', aProfile('elevator')],
      ['sensor', aProfile('sensor')],
    ])
    const equipment = [
      anEquipment({ id: '1', code: 'lift-10' }),
      anEquipment({ id: '2', code: 'lift-2' }),
      anEquipment({ id: '3', code: 'x', kind: 'robot' }),
      anEquipment({ id: '4', code: 'p', kind: 'pump' }),
    ]
    const groups = groupByKind(equipment, profiles)
    expect(groups.map((group) => group.kind)).toEqual(['pump', 'elevator', 'robot'])
    expect(groups[1]?.equipment.map((item) => item.code)).toEqual(['lift-2', 'lift-10'])
  })
})

describe('a tile', () => {
  const latest = Object.fromEntries(['g', 'f', 'e', 'd', 'c', 'b'].map((name) => [name, { value: 1, at: ago(0) }]))

  it('shows the first five fields of the profile that have values', () => {
    const fields = tileFields(anEquipment({ latest }), aProfile('elevator', 'a', 'b', 'c', 'd', 'e', 'f', 'g'))
    expect(fields.map((item) => item.name)).toEqual(['b', 'c', 'd', 'e', 'f'])
  })

  it('shows what there is when no profile says what matters', () => {
    expect(tileFields(anEquipment({ latest }), null)).toHaveLength(5)
  })
})

describe('a value that cannot be true', () => {
  const field = { name: 't', label: { en: 't', 'zh-CN': 't' }, type: 'number' as const, unit: '°C', sentinels: [85] }
  it.each([
    [21, true],
    [-127, false],
    [85, false],
    [125, true],
    [6553.5, false],
    ['warm', true],
  ])('%s', (value, plausible) => {
    expect(isPlausible({ ...field, plausible: [-50, 125] }, value)).toBe(plausible)
  })

  it('is none where the field has no range', () => {
    expect(isPlausible({ ...field, plausible: null }, 1e9)).toBe(true)
    expect(isPlausible(null, 1e9)).toBe(true)
  })
})

describe('values in doubt', () => {
  const profile = aProfile('sensor', 'temperature', 'humidity')
  for (const field of profile.fields) field.label = { en: field.name, 'zh-CN': field.name === 'humidity' ? '湿度' : '温度' }

  it('are called as people call them, in their language', () => {
    const said = 'temperature -127 °C; humidity 6553.5 %; odd 3'
    expect(doubtfulWords(said, profile, (label) => label['zh-CN'])).toBe('温度 -127 °C; 湿度 6553.5 %; odd 3')
    expect(doubtfulWords(said, null, (label) => label.en)).toBe(said)
  })
})
