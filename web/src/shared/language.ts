/** The language of the page: chosen once, remembered, Chinese unless the browser speaks English. */

import { createI18n } from 'vue-i18n'

import type { Texts } from './contract'
import en from './locales/en'
import zhCN from './locales/zh-CN'

export type Language = 'zh-CN' | 'en'

const REMEMBERED = 'gengfu.language'

export function firstLanguage(remembered: string | null, browser: string): Language {
  if (remembered === 'zh-CN' || remembered === 'en') return remembered
  return browser.toLowerCase().startsWith('en') ? 'en' : 'zh-CN'
}

/** The text in the language; where one is missing the other is better than nothing. */
export function textIn(texts: Texts, language: Language): string {
  const other: Language = language === 'en' ? 'zh-CN' : 'en'
  return texts[language] || texts[other]
}

export const i18n = createI18n<[typeof zhCN], Language, false>({
  // eslint-disable-next-line @typescript-eslint/no-deprecated -- until version 12 the old style is what one gets without it
  legacy: false,
  locale: firstLanguage(localStorage.getItem(REMEMBERED), navigator.language),
  fallbackLocale: 'zh-CN',
  messages: { en, 'zh-CN': zhCN },
})

export function chooseLanguage(language: Language): void {
  i18n.global.locale.value = language
  localStorage.setItem(REMEMBERED, language)
  showLanguage(language)
}

/** Browsers read a page aloud, and pick Chinese or Japanese shapes of signs, by this attribute. */
export function showLanguage(language: Language): void {
  document.documentElement.lang = language
}
