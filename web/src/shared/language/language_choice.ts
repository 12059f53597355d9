/** Which language, and which of two texts. Pure. */

import type { Texts } from '@/shared/contract/contract'

export type Language = 'zh-CN' | 'en'

/** What was chosen before; else Chinese, unless the browser prefers English. */
export function firstLanguage(remembered: string | null, browser: string): Language {
  if (remembered === 'zh-CN' || remembered === 'en') return remembered
  return browser.toLowerCase().startsWith('en') ? 'en' : 'zh-CN'
}

/** The text in the language; where one is missing the other is better than nothing. */
export function textIn(texts: Texts, language: Language): string {
  const other: Language = language === 'en' ? 'zh-CN' : 'en'
  return texts[language] || texts[other]
}
