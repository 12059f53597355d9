import vue from '@vitejs/plugin-vue'
import { defineConfig } from 'vitest/config'

// `npm run dev` talks to a gateway that runs beside it.
const gateway = 'http://127.0.0.1:8080'

export default defineConfig({
  plugins: [vue()],
  resolve: { alias: { '@': '/src' } },
  define: {
    // Only the composition style is used: the rest of these libraries need not be shipped.
    __VUE_OPTIONS_API__: 'false',
    __VUE_I18N_LEGACY_API__: 'false',
    __VUE_I18N_FULL_INSTALL__: 'false',
    __INTLIFY_PROD_DEVTOOLS__: 'false',
  },
  build: {
    outDir: 'dist',
    target: 'es2022',
    // The polyfill is an inline script, which our content security policy forbids; every browser we serve preloads by itself.
    modulePreload: { polyfill: false },
    // A data: address in a style sheet would need its own exception in the policy.
    assetsInlineLimit: 0,
  },
  server: { proxy: { '/api': { target: gateway, ws: true } } },
  test: { include: ['tests/**/*.test.ts'], environment: 'node' },
})
