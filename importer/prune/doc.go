// Package prune decides which images of a store can be removed, and removes them.
//
// The work has three steps. A [Pruner] gathers [Facts]: the manifests in the indexes of the store,
// the graph of each, and the images that the releases in the store declare. [Decide], a pure
// function of the facts and a [Policy], makes one [Decision] per manifest in an index: whether it
// is kept, and why. Package publish carries out the resulting [Plan] as one generation.
//
// When in doubt, an image is kept. A version is removed only if a rule applies to its
// repository, no rule keeps it, no kept image leads to it, and a higher version is kept.
// An image by digest is removed only with the last release that declares it.
//
// Removal has two steps. First the manifests lose their tags but stay available by digest, so that running
// pulls can complete. After the grace period, [Pruner.Sweep] removes them as a second generation.
package prune
