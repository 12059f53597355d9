import { describe, expect, it } from 'vitest'

import { firstLanguage, textIn } from '@/shared/language/language_choice'

describe('the first language', () => {
  it.each([
    [null, 'zh-CN', 'zh-CN'],
    [null, 'de-DE', 'zh-CN'],
    [null, 'en-GB', 'en'],
    ['zh-CN', 'en-GB', 'zh-CN'],
    ['en', 'zh-CN', 'en'],
    ['tlh', 'en-US', 'en'],
  ])('remembered %s, browser %s: %s', (remembered, browser, expected) => {
    expect(firstLanguage(remembered, browser)).toBe(expected)
  })
})

describe('a text', () => {
  it('stands in for a missing translation', () => {
    expect(textIn({ en: 'Pump', 'zh-CN': '' }, 'zh-CN')).toBe('Pump')
    expect(textIn({ en: 'Pump', 'zh-CN': '水泵' }, 'zh-CN')).toBe('水泵')
  })
})
