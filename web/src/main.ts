import 'element-plus/theme-chalk/dark/css-vars.css'
import 'element-plus/es/components/button/style/css'
import 'element-plus/es/components/input/style/css'
import 'element-plus/es/components/notification/style/css'
import '@/shared/theme.css'

import { createPinia } from 'pinia'
import { createApp } from 'vue'

import App from '@/App.vue'
import { router } from '@/routes'
import { i18n, showLanguage } from '@/shared/language/language'

showLanguage(i18n.global.locale.value)
createApp(App).use(createPinia()).use(i18n).use(router).mount('#app')
