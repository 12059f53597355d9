"""Words that guessers try first: our own list of common parts of passwords, in general and in this trade."""

from typing import Final

KEYBOARD_ROWS: Final = (
    "012345678901234567890",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "qazwsxedcrfvtgbyhnujmikolp",
    "q1w2e3r4t5y6u7i8o9p0",
    "1q2w3e4r5t6y7u8i9o0p",
    "!@#$%^&*()",
    "13579",
    "02468",
    "147258369",
    "741852963",
)
"""Adjacent keys, and sequences of letters and digits."""

_PASSWORDS: Final = """
    password passwort passwd passw pass pwd parola contrasena senha motdepasse kennwort secret geheim login signin
    welcome willkommen letmein letme openup access enter default changeme change temp temporary initial test testing
    tester guest user users username admin administrator admins root super superuser sysadmin system manager master
    owner operator guard viewer engineer contractor service server database backup office work company business
    private public internal security secure safe security unknown nothing none null empty blank foobar qwert qwertz
    azerty asdf zxcv iloveyou love lover loveyou loveme forever baby babe angel sweet honey sugar darling princess
    prince queen king hello hallo hi hey bonjour ciao thanks please friend friends family mother father mom dad
    mama papa sister brother jesus christ god heaven faith hope trust believe lucky luck happy smile sunshine sun
    moon star stars sky rainbow summer winter spring autumn monday tuesday wednesday thursday friday saturday sunday
    january february march april may june july august september october november december football soccer baseball
    basketball hockey tennis golf running player winner champion game games gamer playstation nintendo xbox pokemon
    pikachu minecraft fortnite batman superman spiderman ironman marvel starwars matrix dragon tiger lion monkey
    eagle falcon wolf bear shark panda kitty kitten cat dog puppy doggy horse pony bunny rabbit mickey minnie donald
    snoopy flower rose lily daisy orange apple banana cherry lemon peach pepper cookie chocolate coffee cheese pizza
    butter chicken turkey whiskey vodka beer black white red green blue yellow purple pink silver gold golden diamond
    crystal ferrari porsche mercedes bmw audi honda toyota yamaha harley google facebook twitter instagram youtube
    yahoo hotmail gmail outlook microsoft windows linux ubuntu debian apple iphone android samsung huawei xiaomi
    oracle mysql postgres redis docker cisco router internet wifi network computer laptop keyboard mouse printer
    michael jennifer jessica ashley amanda daniel david james john robert william thomas charlie george harry jordan
    andrew matthew joshua anthony nicole michelle andrea maria anna alex max martin peter paul mark simon stefan
    hunter ranger killer shadow ninja samurai pirate hacker matrix phoenix thunder lightning storm fire water earth
    wind river ocean island london paris berlin madrid moscow newyork california texas america usa china chinese
    beijing shanghai shenzhen guangzhou chengdu hangzhou nanjing wuhan tianjin suzhou hongkong taiwan peking
    woaini woaiwo aini woshishui wodemima mima mimashi nihao nimen zhongguo zhonghua laopo laogong baobei qinaide
    baobao xiaoxiao mama baba gege jiejie didi meimei wangyi tencent weixin wechat alipay taobao baidu weibo jiayou
    facai gongxi xinnian kuaile shengri pengyou daohang laoshi xuesheng gongsi guanli guanliyuan caozuoyuan zhiban
    xiaofang dianti shuibeng baoan baojing wuye yezhu xiaoqu loudong jiankong menjin xunluo gengfu watchman
    密码 口令 管理员 值班 值班员 消控 消防 电梯 水泵 保安 物业 小区 报警 更夫 你好 中国 公司 测试 我爱你 新年快乐
    elevator lift pump alarm fire panel smoke patrol building tower estate property site facility control room
    5201314 1314520 1314 520 888 666 999 168 521 110 119 120 112 911
    demo example sample staging production prod dev dummy abc xyz aaa qqq
"""
WORDS: Final = frozenset(word for word in _PASSWORDS.split() if len(word) > 1)
"""Casefolded. The service's own name is among them."""
