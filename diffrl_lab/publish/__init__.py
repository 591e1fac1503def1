"""What is generated for readers: lessons, pages, the README, tables of studies.

film     The README's moving picture: a plan comes out of noise, then a ball drives it
lessons  One source per lesson, three editions built from it, a learner's own copy, and runs with other
         parameters
numbers  The page *Numbers that give it away*, docs/numbers.md: `python -m diffrl_lab.publish.numbers`
pages    The HTML edition: an executed notebook as one page that needs no kernel and no network
plots    The pictures that the site has above the tables of docs/studies.md
readme   The README's tables, and the whole tables in docs/scores.md: `python -m diffrl_lab.publish.readme`
site     The whole site, with the API reference, in site/: `python3 run.py site`
tables   The tables of docs/studies.md, made from data/results: `python -m diffrl_lab.publish.tables`
"""
