/** The language of the page: chosen once and remembered. */

import { createI18n } from 'vue-i18n'

import { firstLanguage, type Language } from './language_choice'
import en from '@/shared/locales/en'
import zhCN from '@/shared/locales/zh-CN'

const REMEMBERED = 'gengfu.language'

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
