"""JSON that every parser reads alike, and the names in it.

`strictjson` reads and writes request bodies, `usual` reads most of them faster, `folding` compares names as a
lenient reader does, `members` refuses confusable names, `jsontext` finds members in a text that must otherwise stay
as it is.

Start with `strictjson.parse`. Pure. Imports `errors` and `vocabulary` only. Config, policy and identity read their
documents with it.
"""
