"""What the page says around its figures; nothing here depends on how they come out."""

HEAD = """\
# Evidence: accuracy on unseen domains, per query bought

<!-- Written by `python -m benchmarks.evidence` from docs/results/evidence.jsonl; edit neither. -->

Every figure is from a row of [evidence.jsonl](results/evidence.jsonl), which names its command,
commit, machine, seed, queries and price. Accuracy is in percent, the mean over seeds with Student's
95% interval over seeds (± half of it); differences are paired: the same images, the same seed, the
same held-out styles. A figure without an interval is of one seed. Where rows are missing, the table
says how many runs there are, or *not yet run*; a seed with fewer held-out styles than another is
left out of the mean.
"""
HEADLINE = """\
*House style*: each of seven vendors' styles is held out in turn, the other six are labelled; the
figure is the held-out style. *Line drawings*: OpenMoji's outlines and Noto's glyphs, on which no
student ever trains. *OpenMoji* in colour is a further style that no student trains on. "As
published" means a fresh view of an image each time it is shown, in Align and in Distill, the
paper's equal weights of the two terms, and every view paid for. *Ours* buys the embedding of each
image once, as it stands, and shows the student seven times of ten that very image and else a fresh
view of it, half of these redrawn in ink from its own contours; its image term weighs 0.9.
No drawing that anybody made is ever shown to it, and none is bought. The queries of the zero-shot
line are those of asking it about every test image.
"""
HOUSE_BY_HOUSE = """\
The house styles one by one, %:
"""
KINDS_OF_PICTURE = """\
Emoji that the student trained on, emoji that only the teacher knows, emoji that nobody has seen;
each in the styles that were labelled (seen) and in those that were not. Source validation holds
pictures of the first kind in seen styles; students are chosen on it alone.
"""
TARGETS = """\
Set before these runs. "Met" means that the mean reaches it, and says so where the interval does,
too.
"""
LEAST_GAIN = """\
On Facebook and Twitter ours gains least over the published recipe, and what its mean over the house
styles lacks is lacking there. What may hold it back, one thing at a time: its few views, what it is
shown, and the weight of its image term. Both styles were picked after the headline was known.
"""
CURVES = """\
One held-out vendor's style (Windows) with OpenMoji and the line drawings. A selector puts all
images into one order and a budget buys its beginning, so that a bigger budget contains the smaller
one. Selectors look at the student's own features, which are free; margin and hybrid choose in
rounds, by the answers that were bought so far, too. Random is stratified by class and style. Where
an embedding was not bought, the text of the image's class stands in, and the bought ones are moved
onto the texts by the mean gap between the two: at 0% the student learns from the class texts alone,
which cost 30 queries.
"""
SPEND = """\
A budget buys one view of every image, or several views of fewer images. With several views, ours
shows a picture as it stands seven times of ten, and else another bought view, or (four times of
ten) a fresh one against their mean.
"""
METHODS = """\
Two held-out styles (Windows, Apple), the same images, steps, batches and learning rates for every
method; one that reads image embeddings has four views of each unless its line says otherwise.
"Pictures as ours" shows another method the pictures as ours is shown them, drawings included: what
is left between it and ours is what the teacher's embeddings are worth. The levers of ours are moved
one at a time on one style (Windows). Lines without an interval are of one seed.
"""
BY_CHANCE = """\
Another seed alone moves such a difference of two single runs by {reaches} points (95%, from ours
above the published recipe in the headline, at each style and seed): what is smaller than that is
not shown.
"""
TEACHERS_TEXT = """\
The embedded teacher has seen every style, as a web-scale model has. *styles-unseen* never saw the
held-out styles, and was trained as long on the others; *weak* saw all, for a few steps. Each is
measured on the very styles that the student is measured on. Both were trained where these rows were
made, and have two seeds: another processor trains another teacher.
"""
DIGITS = """\
Handwritten digits, digits of typefaces in several looks and those of a display; four of the eight
looks are held out in turn. With one of the others held out (print, inverted, coloured, outlined)
ERM alone is at 97.8% or more, so these are only ever labelled; the four were picked after a first
seed was known. Nothing was tuned here: methods and settings are those of emoji.
"""
LOOK_BY_LOOK = """\
The looks one by one, %:
"""
PUBLISHED_STEPS = """\
The published recipe trains 5,001 steps in each stage. With Windows held out, of 24 images a step,
it asks for 106 views of each image; ours asks for one.
"""
WHITE_BOX = """\
The paper's other half: the client has the teacher's weights, and the student is its image tower.
The teacher is the one that never saw the held-out styles; Windows is held out, and each image is
bought once. Images are shown at the 64 pixels at which the tower was trained, so these lines are
not to be set beside those of students at 48. The protocol's learning rate is that of a student from
ImageNet; a tower that is already the teacher's is usually trained more gently.
"""
NOT_SHOWN = """\
One small convolutional student at 48 pixels, small teachers that were trained for these data sets,
two data sets of drawn symbols. Nothing here says how large the gains are on photographs, at 224
pixels, with a transformer as student, or with a teacher of the web; the recipe for the published
data sets is in [benchmarks/paper](../benchmarks/paper/README.md), and it has not been run. Three
seeds give wide intervals. On the hard looks of digits ours is behind the published recipe and
behind ERM, with the whole intervals: what is gained on emoji need not be gained elsewhere, and a
bench on your own folder tells before much is bought.
The recipe of `ours` was chosen by about sixty single runs on these styles
([experiments](experiments.md)), the line drawings among them, so its lead there may flatter it;
moving what was bought onto the texts, where only a part was, was chosen among four ways on the very
runs at a tenth of the images. A drawing made from a picture's contours is also nearer to a line
drawing than to other shifts. No other method was tuned, and none has settings of its own; steps and
batch were chosen once, for all. ERM gains more than the others from longer training, so its
distance to them is that of this many steps. KD, SimKD and RISE are our versions of them, not their
authors' code. Vendors draw some emoji alike: twelve pictures of each house style (of 448 or 477)
are byte for byte also in a labelled style, and so trained on, as are 6 to 18 of the 534 or 540 that
validate ([copies](results/copies.json)); all methods have them, and there are none in OpenMoji, the
line drawings or the digits.
"""
PROTOCOL = """\
## Protocol

Emoji: ten styles, 30 classes by meaning; a fifth of each labelled style validates; weights are
chosen on that alone (the best raw weights or the averaged ones). Student: EfficientNet-Lite0 from
ImageNet weights at 48 pixels. Every method trains {steps} steps (and {align_steps} on stored
features where it has an Align or probe stage) of {batch} images a style, Adam, one cycle to {lr},
one CPU thread a run or one GPU. {published} stored views are as many as an image is shown in both
stages: a fresh view at every step, metered. Equal compute for all, and no tuning but of `ours`. One
training run is scored on all its unseen styles at once. `make evidence` makes missing rows and this
page; `python -m benchmarks.evidence --quick` exercises all of it in minutes.
"""
