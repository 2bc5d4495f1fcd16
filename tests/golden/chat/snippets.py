"""Small templates, one construct each, and the variables they may use."""

VARIABLES = {
    "s": "Hello, World",
    "t": "  \t padded text \n",
    "u": "Zürich 日本語 🦙 ǅ ß",
    "html": "<a href=\"x\">Tom & 'Jerry'</a>",
    "lines": "one\ntwo\n\n  three\n",
    "empty": "",
    "n": 7,
    "neg": -7,
    "big": 9007199254740993,
    "f": 2.5,
    "tiny": 1e-07,
    "huge": 1e22,
    "yes": True,
    "no": False,
    "nil": None,
    "l": [3, 1, 2],
    "words": ["banana", "Apple", "cherry", "apple"],
    "mixed": [1, "a", None, 2.5, [1, 2], {"k": "v"}, True],
    "d": {"b": 1, "a": "two", "C": [1, 2], "nested": {"x": {"y": "deep"}}},
    "users": [
        {"name": "Ann", "age": 31, "tags": ["x", "y"], "admin": True},
        {"name": "bob", "age": 25, "tags": [], "admin": False},
        {"name": "Cy", "age": 31, "tags": ["z"]},
    ],
    "keys": {"items": "shadowed", "get": 1, "x": 2},
    "tree": [{"v": 1, "kids": [{"v": 2, "kids": [{"v": 3, "kids": []}]}, {"v": 4, "kids": []}]}],
}

SNIPPETS = r"""
{{ s }}{{ n }}{{ f }}{{ yes }}{{ nil }}{{ missing }}
{{ huge }} {{ tiny }} {{ 1e16 }} {{ 1e15 }} {{ 0.0001 }} {{ 0.00001 }} {{ 1.0 }} {{ -0.0 }} {{ 1e100 }} {{ 123456789.123 }}
{{ big + 1 }} {{ big * 3 }} {{ -big }}
{{ 7 / 2 }} {{ 7 // 2 }} {{ 7 % 3 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 3 ** 2 }}
{{ 7.5 // 2 }} {{ -7.5 // 2 }} {{ 7.5 % 2 }} {{ -7.5 % 2 }} {{ 6 / 3 }} {{ 1 / 3 }} {{ 0.1 + 0.2 }}
{{ 1 + 2 * 3 - 4 / 2 }} {{ (1 + 2) * 3 }} {{ -n + 2 }} {{ -n | abs }} {{ - -n }} {{ +n }} {{ 2 * -3 }}
{{ 1 / 0 }}
{{ 1 % 0 }}
{{ 1 // 0 }}
{{ 1.5 % 0 }}
{{ true + true }} {{ true * 3 }} {{ -true }}
{{ 'a' + 'b' * 3 + "c" }} {{ [1] + [2] * 2 }} {{ (1, 2) + (3,) }}
{{ 'a' + 1 }}
{{ 1 + 'a' }}
{{ 'a' ~ 1 ~ 2.0 ~ none ~ true ~ missing ~ [1] }}
{{ 1 ~ 2 + 3 }}
{{ 'x' ~ 2 * 3 ~ -1 }}
{{ 'adj' "acent" 'strings' }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 == true }} {{ 'a' < 'b' }} {{ 'ß' > 'z' }} {{ [1, 2] < [1, 3] }} {{ (1,) == [1] }} {{ 1 != 2 }}
{{ 'a' < 1 }}
{{ none < 1 }}
{{ 3 in l }} {{ 5 in l }} {{ 5 not in l }} {{ 'ell' in s }} {{ 'a' in d }} {{ 'z' in d }} {{ 1 in (1, 2) }} {{ 'x' in missing }} {{ not 3 in l }}
{{ 1 in s }}
{{ 1 in n }}
{{ yes and 'x' }} {{ no and 'x' }} {{ no or 'x' }} {{ '' or 0 or none }} {{ not yes }} {{ not not 'x' }} {{ not no and yes }}
{{ 'a' if yes else 'b' }} {{ 'a' if no else 'b' }} [{{ 'a' if no }}] {{ 1 if no else 2 if no else 3 }}
{{ ('a' if no).x }}
{{ missing.x }}
{{ missing['x'] }}
{{ missing() }}
{{ missing + 1 }}
{{ 'a' + missing }}
{{ missing | int }}
{{ missing < 1 }}
{{ missing == missing }} {{ missing == none }} {{ missing | length }} {{ missing | list }} [{{ missing | join(',') }}] {{ missing | default('dflt') }} [{{ missing | upper }}]
{{ missing is iterable }} {{ missing is sequence }} {{ missing is string }} {{ missing is mapping }} {{ missing is none }} {{ missing is callable }}
{{ d.missing }}|{{ d['missing'] }}|{{ l[10] }}|{{ l['x'] }}|{{ s[100] }}|{{ n.x }}|{{ nil.x }}
{{ d.missing.x }}
{{ d.nested.x.y }} {{ d['nested']['x'].y }} {{ l.0 }} {{ l[0] }} {{ l[-1] }} {{ s[0] }} {{ s[-1] }} {{ u[7] }} {{ u[-5] }} {{ l[true] }}
{{ l[1.0] is defined }} {{ d[[1]] is defined }} {{ {1: 'one', 2.5: 'x', none: 'n', (1, 2): 't'}[1.0] }} {{ {1: 'one'}[true] }}
{{ keys.items is callable }} {{ keys['items'] }} {{ keys.get('x') }} {{ keys.x }} {{ keys['get'] }} {{ keys.keys() | list }}
{{ l[1:] }} {{ l[:1] }} {{ l[::-1] }} {{ l[-2:] }} {{ l[::2] }} {{ l[5:] }} {{ l[2:0:-1] }} {{ l[none:2] }} {{ s[::-1] }} {{ s[3:8] }} {{ s[-5:-1] }} {{ u[5:10] }} {{ u[::-2] }} {{ (1, 2, 3)[1:] }} {{ l[:-1] }}
{{ ''[::-1] }}|{{ ''[:] }}|{{ ''[1:] }}|{{ [][::-1] }}|{{ ()[::-2] }}|{{ ''[::-5] | length }}
{{ '{:^5}|{:d}|{:<6}|'.format(true, false, true) }} {{ 7 / big }} {{ big / 3 }} {{ missing | last }} {{ users | sort(attribute='nosuch') | length }}
{{ '0x1f' | int }} {{ '0x1f' | float }} {{ '12' | int(base=99) }} {{ '1.5' | int(base='x') }}
{{ l[::0] }}
{{ nil[1:] }}
{{ n[1:] }}
{{ l['a':] }}
{{ s[99999999999:] }}|{{ s[-99999999999:3] }}|{{ s[::99999999999] }}|{{ l[::-9223372036854775807] }}
{{ [1, 'a', "it's", none, true, 2.0, (1,), (), {}, [], {'a': 1}] }}
{{ mixed }} {{ d }} {{ users[0] }}
{{ ['tab\t', 'nl\n', 'quote\'', "dq\"", 'both\'"', 'back\\slash', 'é', '\x00\x7f', '\u200b', '🦙'] }}
{{ 'esc: \t|\n|\\|\'|\"|\x41|\u00e9|\U0001F999|\101|\q|\a' | tojson }}
{{ (1, 2) }} {{ (1,) }} {{ () }} {{ 1, 2 }}
{{ {'a': 1, 'b': {'c': [1, 2]},} }} {{ [1, 2,] }}
{{ {[1]: 2} }}
{{ '%s is %d years, %.2f%%, %5d|%-5s|%05d|%x|%r' % ('Ann', 31, 2.5, 7, 'ab', 42, 255, 'q') }}
{{ '%s' % 'one' }} {{ '%s' % none }} {{ '%(a)s-%(b)d' % {'a': 'x', 'b': 2} }} {{ '%s' % [1, 2] }} {{ '%c%c' % ('x', 65) }} {{ '%e %g %G' % (12345.678, 0.00001, 1e20) }} {{ '%+d % d' % (3, 4) }} {{ '%*d' % (5, 3) }}
{{ '%d' % 'x' }}
{{ '%s %s' % ('a',) }}
{{ '%s' % ('a', 'b') }}
{{ '%y' % 1 }}
{{ '{} {1}' | length }} {{ '{} and {}'.format(1, 'b') }} {{ '{1}{0}'.format('a', 'b') }} {{ '{x}-{y[k]}-{z.name}'.format(x=1, y={'k': 'v'}, z=users[0]) }} {{ '{{}}'.format() }}
{{ '{:>5}|{:<5}|{:^5}|{:*^7}|{:05d}|{:.2f}|{:,}|{:x}|{:#x}|{:b}|{:e}|{:%}|{!r}|{:+d}'.format('a', 'b', 'c', 'd', 42, 3.14159, 1234567, 255, 255, 5, 12345.678, 0.25, 'q', 3) }}
{{ '{:10.3}|{:g}|{:_}|{:,.2f}|{:5}|{:5}|{:^+8.1f}'.format('abcdef', 0.0001, 1234567, 1234567.891, 7, 2.5, 3.14) }}
{{ '{}'.format() }}
{{ '{a}'.format(b=1) }}
{{ '{:d}'.format('x') }}
{{ t.strip() }}|{{ t.lstrip() }}|{{ t.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'abcba'.lstrip('ab') }}|{{ 'abcba'.rstrip('ab') }}|{{ t | trim }}|{{ '--x--' | trim('-') }}|{{ ' nbsp ' | trim }}
{{ 'a,b,,c'.split(',') }} {{ 'a b  c '.split() }} {{ 'a b c'.split(' ', 1) }} {{ 'a b c'.rsplit(' ', 1) }} {{ 'a b  c'.rsplit() }} {{ ' a b c '.split(none, 1) }} {{ ' a b c '.rsplit(none, 1) }} {{ 'a b c'.rsplit(maxsplit=1) }} {{ ''.split(',') }} {{ ''.split() }} {{ lines.splitlines() }} {{ 'a\r\nb\rc'.splitlines(true) }}
{{ 'x'.split('') }}
{{ s.split('</think>')[-1] }} {{ 'a</think>b'.split('</think>')[-1].lstrip('\n') }} {{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.partition('z') }} {{ 'abc'.rpartition('z') }}
{{ s.startswith('Hell') }} {{ s.endswith('d') }} {{ s.startswith(('x', 'H')) }} {{ s.startswith('World', 7) }} {{ s.endswith('') }} {{ ''.startswith('', 1) }} {{ s.startswith('ello', 1, 3) }}
{{ s.startswith(1) }}
{{ s.replace('l', 'L') }} {{ s.replace('l', 'L', 1) }} {{ s | replace('o', '0') }} {{ s | replace('o', '0', 1) }} {{ 'ab'.replace('', '-') }} {{ 'aaa'.replace('aa', 'b') }} {{ 12 | replace(1, 'x') }} {{ 'añb'.replace('', '.', 3) }}
{{ s.upper() }} {{ s.lower() }} {{ s.title() }} {{ s.capitalize() }} {{ s.swapcase() }} {{ u.upper() }} {{ u.lower() }} {{ u.title() }} {{ u | upper }} {{ "they're bill's" | title }} {{ "they're bill's".title() }} {{ 'ΑΣ ΑΣΑ' | lower }} {{ 'ﬁx İ' | upper }} {{ 'İ' | lower | length }} {{ 'foo-bar (baz)' | title }} {{ 'ßa' | capitalize }}
{{ s.find('o') }} {{ s.find('zz') }} {{ s.rfind('o') }} {{ s.index('W') }} {{ s.count('l') }} {{ u.find('日') }} {{ s.find('o', 5) }} {{ s.find('o', 5, 6) }} {{ s.count('') }} {{ s.find('', 99) }} {{ s.find('o', -4) }}
{{ s.index('zz') }}
{{ '-'.join(['a', 'b']) }} {{ ''.join('abc') }} {{ '5'.zfill(3) }} {{ '-5'.zfill(4) }} {{ 'a'.center(5, '*') }} {{ 'ab'.center(5) }}| {{ 'a'.ljust(3) }}| {{ 'a'.rjust(3, '.') }} {{ 'prefix'.removeprefix('pre') }} {{ 'suffix'.removesuffix('fix') }} {{ 'abcd'.center(7, '-') }}
{{ '-'.join([1]) }}
{{ 'abc'.isalpha() }} {{ '123'.isdigit() }} {{ 'a1'.isalnum() }} {{ ' '.isspace() }} {{ 'A'.isupper() }} {{ 'a'.islower() }} {{ ''.isdigit() }} {{ '日'.isalpha() }} {{ '1.0'.isnumeric() }}
{{ s.nosuch is defined }} {{ s.upper is callable }} {{ l.append is callable }}
{{ [1, 2, 2].count(2) }} {{ [1, 2].index(2) }} {{ (1, 2).index(2) }} {{ [1].copy() }}
{{ d.get('a') }} {{ d.get('zz') }} {{ d.get('zz', 'dflt') }} {{ d.keys() }} {{ {'k': 1}.values() }} {{ {'k': 1}.items() }} {{ d.items() | list | length }} {{ d.keys() | length }}
{{ d.get() }}
{{ s | length }} {{ u | length }} {{ l | length }} {{ d | count }} {{ 'abc' | list }} {{ u | list }} {{ d | list }} {{ (1, 2) | list }}
{{ n | length }}
{{ nil | length }}
{{ l | first }} {{ l | last }} {{ s | first }} {{ s | last }} [{{ [] | first }}] [{{ [] | last }}] {{ d | first }} {{ d | last }}
{{ ([] | first).x }}
{{ l | join(', ') }} {{ l | join }} {{ users | join('; ', attribute='name') }} {{ 'abc' | join('.') }} {{ d | join(',') }} {{ mixed | join('|') }}
{{ nil | join }}
{{ l | sort }} {{ l | sort(reverse=true) }} {{ words | sort }} {{ words | sort(case_sensitive=true) }} {{ users | sort(attribute='age') | map(attribute='name') | list }} {{ users | sort(attribute='age,name', reverse=true) | map(attribute='name') | list }} {{ 'hello' | sort | join }}
{{ mixed | sort }}
{{ d | dictsort }} {{ d | dictsort(true) }} {{ {'x': 2, 'y': 1} | dictsort(by='value') }} {{ {'x': 2, 'y': 1} | dictsort(false, 'key', true) }}
{{ l | dictsort }}
{{ words | unique | list }} {{ words | unique(true) | list }} {{ users | unique(attribute='age') | map(attribute='name') | join(',') }} {{ [1, 1.0, true, 2] | unique | list }}
{{ l | min }} {{ l | max }} {{ words | min }} {{ users | max(attribute='age') }} [{{ [] | max }}] {{ l | sum }} {{ users | sum(attribute='age') }} {{ l | sum(start=10) }} {{ [1.5, 2] | sum }}
{{ words | sum }}
{{ l | reverse | list }} {{ s | reverse }} {{ u | reverse }} {{ (1, 2) | reverse | list }} {{ l | map('string') | reverse | join('-') }}
{{ words | map('upper') | list }} {{ users | map(attribute='name') | list }} {{ users | map(attribute='tags.0') | list }} {{ users | map(attribute='admin', default='?') | list }} {{ l | map('string') | join('+') }} {{ ['a ', ' b'] | map('trim') | list }} {{ words | map('replace', 'a', 'A') | list }} {{ [] | map('upper') | list }} {{ nil | map('upper') | list }}
{{ [1, 2, 3, 4] | select('odd') | list }} {{ [1, 2, 3, 4] | reject('odd') | list }} {{ [0, 1, '', 'a'] | select | list }} {{ [1, 5, 9] | select('gt', 4) | list }} {{ [1, 2] | select('in', [2, 3]) | list }} {{ mixed | select('string') | list }} {{ mixed | reject('none') | list }}
{{ users | selectattr('admin') | map(attribute='name') | list }} {{ users | selectattr('age', 'equalto', 31) | map(attribute='name') | list }} {{ users | rejectattr('admin', 'defined') | map(attribute='name') | list }} {{ users | selectattr('name', '==', 'bob') | first }} {{ users | rejectattr('admin') | list | length }} {{ users | selectattr('age', '>', 30) | list | length }}
{{ [1, 2, 3, 4, 5] | batch(2) | list }} {{ [1, 2, 3] | batch(2, 'x') | list }} {{ [1, 2, 3, 4, 5] | slice(2) | list }} {{ [1, 2, 3] | slice(2, 'x') | list }}
{{ d | items | list }} {{ missing | items | list }} {% for k, v in d | items %}{{ k }}={{ v }};{% endfor %}
{{ l | items | list }}
{{ (users | selectattr('admin')) is iterable }} {{ (users | selectattr('admin')) is sequence }} {{ (l | map('string')) | first }} {{ 'yes' if ([] | map('x')) else 'no' }}
{% set g = l | map('string') %}{{ g | first }}{{ g | list }}{{ g | list }}
{{ l | map('string') | length }}
{{ l | map('string') | last }}
{{ l | map('string') | tojson }}
{{ d | tojson }} {{ mixed | tojson }} {{ u | tojson }} {{ html | tojson }} {{ lines | tojson }} {{ [1.0, 1e22, 1e-07, 100] | tojson }} {{ (1, 2) | tojson }} {{ {1: 2, none: 3, true: 4, 2.5: 5} | tojson }} {{ '\x01\x1f\x7f\b\f' | tojson }} {{ [] | tojson }} {{ {} | tojson }}
{{ d | tojson(indent=2) }}
{{ d | tojson(indent=4) | indent(8) }}
{{ [[], {}, [1, [2]]] | tojson(indent=1) }} {{ {'a': [1]} | tojson(indent='--') }} {{ [1] | tojson(indent=0) }}
{{ u | tojson(ensure_ascii=true) }} {{ d | tojson(sort_keys=true) }} {{ d | tojson(separators=(',', ':')) }} {{ {'é': 'ü🦙'} | tojson(ensure_ascii=True) }} {{ d | tojson(false, none, [', ', ' : '], true) }}
{{ missing | tojson }}
{{ range(3) | tojson }}
{{ d.items() | tojson }}
{{ {(1, 2): 3} | tojson }}
{{ {1: 1, 'a': 2} | tojson(sort_keys=true) }}
{{ lines | indent }}|{{ lines | indent(2, true) }}|{{ lines | indent(width='>>') }}|{{ lines | indent(2, first=true, blank=true) }}|{{ '' | indent(first=true) }}|{{ 'a\n' | indent }}|
{{ 3.7 | int }} {{ '42' | int }} {{ '42.9' | int }} {{ 'x' | int }} {{ 'x' | int(-1) }} {{ '0x1f' | int(base=16) }} {{ '1f' | int(0, 16) }} {{ nil | int }} {{ true | int }} {{ ' 12 ' | int }} {{ '1_000' | int }} {{ '-7' | int }} {{ [] | int(5) }} {{ -3.7 | int }} {{ '1e3' | int }} {{ 'inf' | int }} {{ 'nan' | int }}
{{ '2.5' | float }} {{ 'x' | float }} {{ 3 | float }} {{ 'x' | float(1.5) }} {{ nil | float }} {{ '1e3' | float }} {{ 'inf' | float }} {{ '-inf' | float }} {{ 'nan' | float }} {{ ' 7 ' | float }}
{{ 2.5 | round }} {{ 3.5 | round }} {{ 42.55 | round(1) }} {{ 42.55 | round(1, 'floor') }} {{ 42.51 | round(1, 'ceil') }} {{ 7 | round }} {{ 2.675 | round(2) }} {{ 7 | round(method='floor') }} {{ -2.5 | round }}
{{ -5 | abs }} {{ -2.5 | abs }} {{ n | string }} {{ 2.0 | string }} {{ true | string | lower }} {{ none | string }} {{ 5 | default(1) }} {{ '' | default('x') }} {{ '' | default('x', true) }} {{ nil | default('x') }} {{ nil | d('x', boolean=true) }}
{{ 'x' | abs }}
{{ html | escape }} {{ html | e }} {{ html | safe }} {{ ('<b>' | safe) + '<i>' }} {{ '<i>' + ('<b>' | safe) }} {{ ('<b>' | safe) ~ '<i>' }} {{ ('<b>' | safe) | upper }} {{ ('%s' | safe) % '<' }} {{ ('{}' | safe).format('<') }} {{ ['<b>' | safe] }} {{ ('<b>' | safe) | escape }} {{ ('<b>' | safe) | forceescape }} {{ ('-' | safe).join(['<', '>']) }} {{ ('a<b' | safe).replace('a', '<') }} {{ ('<' | safe) * 2 + '<' }} {{ ('x' | safe)[0] + '<' }} {{ ('<' | safe) | string + '<' }} {{ ('<' | safe) | replace('z', 'y') + '<' }} {{ '<' | e + '<' }}
{{ '%s and %s' | format('a', 2) }} {{ '%(x)s' | format(x=1) }} {{ 'a b' | urlencode }} {{ 'foo bar baz qux' | truncate(9) }} {{ 'foo bar baz qux' | truncate(9, true) }} {{ 'foo bar baz qux' | truncate(11, false, '...', 0) }} {{ 'two words' | wordcount }} {{ 'x' | center(5) }}| {{ d | attr('a') is defined }} {{ (d | attr('get'))('a') }}
{{ 3 is odd }} {{ 3 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ n is number }} {{ yes is number }} {{ n is integer }} {{ yes is integer }} {{ f is float }} {{ yes is boolean }} {{ yes is true }} {{ 1 is true }} {{ no is false }} {{ s is string }} {{ d is mapping }} {{ l is mapping }}
{{ l is sequence }} {{ s is sequence }} {{ d is sequence }} {{ n is sequence }} {{ nil is iterable }} {{ l is iterable }} {{ range(2) is sequence }} {{ d.items() is sequence }} {{ d.items() is iterable }} {{ s is not none }} {{ nil is none }} {{ s is not mapping }} {{ not s is mapping }}
{{ 1 is eq 1 }} {{ 1 is equalto(2) }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 1 is le 1 }} {{ 2 is gt 1 }} {{ 2 is ge 3 }} {{ 1 is in [1, 2] }} {{ 'a' is in 'abc' }} {{ none is sameas none }} {{ 'ABC' is upper }} {{ 'abc' is lower }} {{ 'upper' is filter }} {{ 'nosuch' is filter }} {{ 'odd' is test }} {{ range is callable }} {{ s is callable }} {{ 1 is greaterthan 0 }} {{ 1 is sameas true }}
{{ 'a' is odd }}
{{ s is defined and s is string }} {{ x is defined and x.y }} {{ x is not defined or x.y }} {{ d.a is defined }} {{ d.zz is defined }}
{{ s is defined is string }}
{{ range(5) | list }} {{ range(1, 4) | list }} {{ range(10, 0, -3) | list }} {{ range(3) }} {{ range(0) | list }} {{ range(2, 9, 3) }} {{ range(5)[1] }} {{ range(5)[-1] }} {{ range(3) | length }} {{ 2 in range(3) }} {{ range(3) == range(3) }}
{{ range(1, 2, 0) }}
{{ range('a') }}
{{ dict(a=1, b=2) }} {{ dict([('x', 1)]) }} {{ dict(d, a=9) | length }} {{ dict() }}
{{ raise_exception('no ' ~ n) }}
before{% if yes %}{{ raise_exception("Conversation roles must alternate 'user'") }}{% endif %}
{{ strftime_now('%Y-%m-%d') }} {{ strftime_now('%d %b %Y') }} {{ strftime_now('%A %B %d, %Y %H:%M:%S %I %p %j %y %% %a') }} {{ strftime_now is defined }}
{% set x = 1 %}{% set x = x + 1 %}{{ x }}{% set a, b = (1, 2) %}{{ a }}{{ b }}{% set (p, q) = [3, 4] %}{{ p }}{{ q }}{% set y = 1, 2 %}{{ y }}
{% set a, b = [1, 2, 3] %}
{% set a, b = n %}
{% set x = 1 %}{% for i in l %}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}
{% set ns = namespace(x=1, found=false) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }} {{ ns.found }} {{ ns.missing is defined }} {{ ns['x'] }}
{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a + ns.b }}{% set ns.c = [] %}{{ ns.c }}
{% set d.x = 1 %}
{% set nosuch.x = 1 %}
{% if yes %}{% set z = 5 %}{% endif %}{{ z }}{% if no %}{% set w = 5 %}{% endif %}[{{ w }}]
{% set x %}a {{ n }} b{% endset %}[{{ x }}]{% set y | upper | trim %} {{ x }} {% endset %}[{{ y }}]{% set z | replace('a', 'b') %}banana{% endset %}{{ z }}
{% set ns = namespace() %}{% set ns.t %}in{{ 1 }}{% endset %}{{ ns.t }}
{% for i in l %}{{ i }}{% if not loop.last %}, {% endif %}{% endfor %}
{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }} {% endfor %}
{% for i in l %}[{{ loop.previtem }}|{{ i }}|{{ loop.nextitem }}]{% endfor %}
{% for i in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{{ loop.cycle('a', 'b') }}{{ loop.changed(i > 1) }}{% endfor %}
{% for i in l %}{{ loop.previtem.x }}{% endfor %}
{% for i in [] %}x{% else %}empty{% endfor %}{% for i in l %}{% else %}never{% endfor %}{% for i in missing %}x{% else %}undef{% endfor %}
{% for i in nil %}x{% endfor %}
{% for i in n %}x{% endfor %}
{% for i in l if i > 1 %}{{ i }}:{{ loop.index }}/{{ loop.length }} {% else %}none{% endfor %}{% for i in l if i > 9 %}x{% else %}none{% endfor %}
{% for k in d %}{{ k }} {% endfor %}{% for k, v in d.items() %}{{ k }}={{ v }} {% endfor %}{% for c in 'añ' %}<{{ c }}>{% endfor %}
{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}{% for a, b in [[1, 2], 'xy'] %}{{ a }}{{ b }}{% endfor %}
{% for a, b in [1] %}{% endfor %}
{% for i in 1, 2, 3 %}{{ i }}{% endfor %}{% for i in (l if no else [9]) %}{{ i }}{% endfor %}{% for i in l + [8] %}{{ i }}{% endfor %}{% for i in range(3) %}{{ i }}{% endfor %}
{% for i in l %}{% for j in l %}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}
{% for i in l %}{% set outer = loop %}{% for j in [1, 2] %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}
{% for i in range(10) %}{% if i == 3 %}{% continue %}{% endif %}{% if i == 6 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% for i in l %}{% for j in l %}{% if j == 1 %}{% break %}{% endif %}{{ j }}{% endfor %}|{% else %}x{% endfor %}
{% for i in l: %}{{ i }}{% else: %}x{% endfor %}{% if n: %}y{% endif %}
{% break %}
{% for n in tree recursive %}{{ n.v }}{% if n.kids %}({{ loop(n.kids) }}){% endif %}{{ loop.depth }}{% endfor %}
{% for i in l %}{{ loop(l) }}{% endfor %}
{% set i = 'outer' %}{% for i in l %}{{ i }}{% endfor %}{{ i }}
{% for item in l %}{{ item }}{% endfor %}[{{ item }}][{{ loop }}]
{% if no %}a{% elif n == 7 %}b{% else %}c{% endif %}{% if missing %}x{% else %}y{% endif %}{% if '' %}x{% elif [] %}y{% elif {} %}z{% elif 0.0 %}w{% else %}falsy{% endif %}
{% macro m(a, b='dflt', c=a) %}[{{ a }}|{{ b }}|{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(b=5, a=4) }}{{ m() }}{{ m('x', c='y') }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}
{% macro m(a) %}{{ a.x }}{% endmacro %}{{ m() }}
{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}
{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(m(1)) }}{{ m(1) | upper }}{{ m(1) + 'x' }}{{ m is callable }}{% for i in l %}{{ m(i) }}{% endfor %}
{% macro fact(k) %}{% if k <= 1 %}1{% else %}{{ k * (fact(k - 1) | int) }}{% endif %}{% endmacro %}{{ fact(10) }}
{% set g = 'global' %}{% macro m() %}{{ g }}{% set g = 'local' %}{{ g }}{% endmacro %}{{ m() }}{{ g }}
{% macro m() %}{{ later }}{% endmacro %}{% set later = 'set after' %}{{ m() }}
{% for i in l %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}
{% macro box(t) %}<{{ t }}:{{ caller() }}>{% endmacro %}{% call box('T') %}in{{ n }}{% endcall %}
{% macro rows(xs) %}{% for x in xs %}{{ caller(x, loop.index) }}{% endfor %}{% endmacro %}{% call(x, i) rows(l) %}({{ i }}:{{ x }}){% endcall %}
{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}{% call m() %}{% endcall %}
{% macro m() %}x{% endmacro %}{% call m() %}{% endcall %}
{% filter upper %}shout {{ s }}{% endfilter %}{% filter trim | upper %}  abc  {% endfilter %}{% filter replace('a', 'b') %}aaa{% endfilter %}
{% with a=1, b=n %}{{ a }}{{ b }}{% set a = 2 %}{{ a }}{% endwith %}[{{ a }}]
{% generation %}{% set inside = 1 %}gen{{ inside }}{% endgeneration %}[{{ inside }}]
{% raw %}{{ not }} {% parsed %}{% endraw %}{{ n }}{%- raw -%}  x  {%- endraw -%}  y
{# comment #}a{#- strip -#}  b {#+ keep +#} c{# {{ no }} #}
a {{- ' b ' -}} c {%- if yes -%} d {%- endif -%} e
a {{ n -}}   b   {{- n }} c
{{ [1, 2] == [1, 2] }} {{ {'a': 1} == {'a': 1.0} }} {{ {'a': 1, 'b': 2} == {'b': 2, 'a': 1} }} {{ 'a' == 'a' }} {{ none == false }} {{ 1 == '1' }} {{ (1, 2) == (1, 2) }}
{{ d['a'] if 'a' in d else 'none' }} {{ (d.a or 'x') | upper }} {{ d.a | default('x') | upper ~ '!' }} {{ -1 | string ~ 'x' }}
{{ users[0].tags | join(',') if users[0].tags else 'none' }} {{ users[1].tags[0] is defined }} {{ (users | first).name }} {{ users[-1]['name'] }} {{ users | map(attribute='name') | map('lower') | sort | join(' ') }}
{{ {'a': {'b': 1}}['a']['b'] }} {{ [[1, 2], [3]][0][1] }} {{ 'abc'[1] }} {{ 'abc'.upper()[0] }} {{ ('a', 'b')[1] }} {{ dict(a=[1])['a'][0] }}
{{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 1_000 }} {{ 1.5e3 }} {{ 1E2 }} {{ 1_0.5 }}
{{ true }} {{ True }} {{ none }} {{ None }} {{ false }} {{ False }}
{{ 'multi
line' }}{{ n
}}{%
if yes
%}ok{% endif %}
{{ "{{ not }} {% a tag %}" }} {{ '}}' }} {{ {'a': {'b': {}}} }} {% if '%}' %}x{% endif %}
{{ l | join(', ' if yes else ';') }} {{ (l | sort)[0] }} {{ l | sort | first }} {{ (l | length) * 2 }} {{ l | length > 2 }} {{ l | length == 3 and yes }}
{{ namespace(a=1) }} {{ namespace(a=1).a }}
{% print n %}{% print 'a' ~ 'b' %}
{% set x = '' %}{% for m in users %}{% set x = x ~ m.name %}{% endfor %}[{{ x }}]
{{ s.split(', ')[1] }} {{ s.split(', ') | last }} {{ (s.split(', ') | last).lower() }} {{ s | lower | replace(' ', '_') | capitalize }}
{{ m(*[1, 2], **{'c': 3}) }}
{% macro m(a, b, c) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(*[1, 2], **{'c': 3}) }}{{ m(1, *(2, 3)) }}
{{ d.items is callable }}{{ 1.x }}
{{ n.5 }}
{{ l.1 }}{{ users.0.name }}{{ users.0.tags.1 }}
{{ 'x' 'y' ~ 'z' }}{{ 'a' if 'b' 'c' }}
{{ 012 }}
{{ }}
{{ n
{% if yes %}
{% endif %}
{% for x %}{% endfor %}
{% if %}x{% endif %}
{% set 1 = 2 %}
{% set none = 2 %}
{% unknown %}
{{ n + }}
{{ n ! }}
{{ (1, 2 }}
{{ [1, 2) }}
{{ 'open }}
{{ a b }}
{{ n.+ }}
{% endfor %}
{% macro m(a=1, b) %}{% endmacro %}
{{ f(a=1, 2) }}
{% raw %}x
{# open
{% else %}
{{ n | }}
{{ n is }}
""".strip("\n")

# Templates of several lines: white space around tags is what they are about.
BLOCKS = [
    "{% if yes %}\n  a\n{% endif %}\nb\n",
    "  {% if yes %}\n  a\n  {% endif %}\n  b",
    "x {% if yes %}\na\n{% endif %} y\n",
    "{% for i in l %}\n- {{ i }}\n{% endfor %}\nend\n\n",
    "{%- for i in l -%}\n  {{ i }}\n{%- endfor -%}\n",
    "{%+ if yes %}\n  a\n  {%+ endif %}\nb",
    "{% if yes +%}\na{% endif +%}\nb",
    "  {# comment #}\n  a\n{# two\nlines #}\nb",
    "  {#- c -#}\n  a",
    "  {{ n }}\n  {{ n }}\n\n",
    "\n\n{{ n }}\n\n\n",
    "{{ n }}\n",
    "\n",
    "",
    "a\r\nb\rc\n{% if yes %}\r\nd{% endif %}\r\ne\r\n",
    "\t{% set x = 1 %}\n\t{{ x }}\n",
    "a\n   {%- if yes %}\n   b\n   {%- endif %}\n   c",
    "   {% raw %}\n  {{ x }}\n  {% endraw %}\n  y",
    "{% macro m(a) %}\n  [{{ a }}]\n{% endmacro %}\n{{ m(1) }}\n{{ m(2) -}}\n\nz",
    "{% set x %}\n  body\n{% endset %}\n[{{ x }}]",
    "{{ 'a' }}{% if yes %}\n{% endif %}\n   {{ 'b' }}   {% if yes %} c {% endif %}   \n",
    "{%- if yes %}\n\n\n{%- else %}\n{%- endif %}\n.",
    "{{- s -}}\n  \n{{- s }}",
    "a{# c #}\n  {# d #}  \nb\n{# e #}",
    "\u00a0{% if yes %}\u00a0\n x{%- endif %}",
    "<|im_start|>{{ 'user' }}\n{{- '' }}\n  {%- if no %}no{% endif %}\n<|im_end|>\n",
    "{% if yes %}{% if yes %}\n\n{% endif %}\n{% endif %}\nq",
]
