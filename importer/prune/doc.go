// Package prune decides which images of a store can be removed, and removes them.
//
// The work has three steps. A [Pruner] gathers [Facts]: which manifests the indexes of the store
// name, what each leads to, and what the releases in it declare. [Decide], a pure function,
// makes one [Decision] per manifest that an index names from the facts and a [Policy]: keep it
// or remove it, and why. Package publish carries out the resulting [Plan] as one generation.
//
// When in doubt, an image is kept. A version is removed only if a rule applies to its
// repository, no rule keeps it, nothing that is kept leads to it, and a higher version is kept.
// An image by digest is removed only with the last release that declares it.
//
// Removal has two steps. First the manifests lose their tags and stay available by digest, so
// that running pulls can complete. After the grace period, a second generation removes them: see
// [Pruner.Sweep].
package prune
