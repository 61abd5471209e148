"""A blind reader study: image pairs for readers who do not know what made them, and the analysis of their scores.

How a study goes:

1. Every arm (a way to reconstruct) writes its images of the same slices to one file: `images.write_images`.
2. `rekon reader-study make` pairs each slice of the reference arm with that of every other arm, in random order and
   on random sides, and writes the kit, a folder for the readers, and the key, a file that they never see.
3. Each reader opens read.html of the kit in a browser (or fills a copy of sheet.csv in) and hands back a score sheet.
4. `rekon reader-study analyse` reads the key and the sheets: per reader and criterion the difference to the
   reference with its interval, non-inferiority at a margin fixed beforehand, and the agreement between the readers
   and with themselves.

`images` the arms' files · `design` the randomisation · `kit` what the reader gets · `key` what they do not ·
`sheet` the scores · `differences` and `agreement` the statistics · `analysis` all of them, and the files written.
"""
