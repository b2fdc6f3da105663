// Package prune decides which images of a store can be removed, and removes them.
//
// The work has three steps. First, a [Pruner] gathers [Facts]: the manifests in the indexes of the store,
// their graphs, and the images that releases declare. Second, [Decide] decides from the facts and a [Policy]
// which manifests are kept, and why. Third, package publish carries out the resulting [Plan] as one
// generation.
//
// In case of doubt, an image is kept. A version is removed only if all of this is true: a rule applies to its
// repository, no rule keeps it, no kept image needs it, and a higher version is kept. If releases declare an
// image by digest, it is removed only together with the last of these releases.
//
// With a grace period, images are removed in two steps. First, their manifests lose their tags but stay
// available by digest, so that running pulls can complete. After the grace period, [Pruner.Sweep] removes the
// manifests and blobs as a second generation.
package prune
