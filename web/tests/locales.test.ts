import { describe, expect, it } from 'vitest'
import { createI18n } from 'vue-i18n'

import en from '@/shared/locales/en'
import zhCN from '@/shared/locales/zh-CN'

interface Texts {
  [key: string]: string | Texts
}

function flat(texts: Texts, under = ''): [string, string][] {
  return Object.entries(texts).flatMap(([key, text]): [string, string][] =>
    typeof text === 'string' ? [[under + key, text]] : flat(text, `${under}${key}.`),
  )
}

function placeholders(text: string): string[] {
  return [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1] ?? '').sort()
}

const chinese = new Map(flat(zhCN))
const english = new Map(flat(en))

describe('the two languages', () => {
  it('have the same keys', () => {
    expect([...english.keys()].sort()).toEqual([...chinese.keys()].sort())
  })

  it.each([
    ['zh-CN', chinese],
    ['en', english],
  ])('have no empty text in %s', (_language, texts) => {
    expect([...texts].filter(([, text]) => text.trim() === '')).toEqual([])
  })

  it('name the same numbers in each text', () => {
    const differing = [...chinese].filter(
      ([key, text]) => placeholders(text).join() !== placeholders(english.get(key) ?? '').join(),
    )
    expect(differing).toEqual([])
  })

  it('can be read by the library: signs like @ and | have a meaning to it', () => {
    const i18n = createI18n({ legacy: false, locale: 'en', messages: { en, 'zh-CN': zhCN }, warnHtmlMessage: false })
    const named = { n: 1, rest: 2, age: 'x', time: 'x', who: 'x', part: 'x', title: 'x' }
    for (const language of ['en', 'zh-CN'] as const) {
      i18n.global.locale.value = language
      for (const key of english.keys()) expect(i18n.global.t(key, named)).not.toMatch(/[{}]/)
    }
  })
})

describe('the words of the glossary', () => {
  it('are kept', () => {
    expect(zhCN.alarms.acknowledge).toBe('接警')
    expect(zhCN.sound.silence).toBe('消音')
    // 确认 reads as "fire confirmed" to fire staff.
    expect([...chinese].filter(([, text]) => text.includes('确认'))).toEqual([])
  })
})
