// Package pull fetches from a registry and writes a bundle, whose paths are those of
// the registry: what was pulled is served, imported and pushed as it is.
//
// Start with [Run], which pulls what [Options] say, or with [Dry], which says what that
// would be. Options name either repositories, which come as they are, or a [Selection]
// of what a source of Deckhouse has: releases by channels and constraints, installers
// and the images that they name, vulnerability databases, modules and packages with
// their internal and extra images, plugins.
//
// A pull has four steps. It plans: each tag is resolved once, and from then on everything
// is asked for by digest, so that a tag that moves meanwhile does no harm. It fetches:
// each blob once for the whole bundle, proven while it is written, on from where an
// earlier try was cut. It packs: archives depend on their content alone, and are to the
// byte what the field's own tool makes of it. It publishes: the archives are looked at
// as a server would, and then take their place by renames that a journal makes sure of.
//
// What it promises:
//   - Nothing is published before everything that was planned is there and whole. What the
//     source lacks is listed, all of it ([IncompleteError]). Where Options allow it, what is
//     complete is published, and what is not is listed: an image that is not all there never is.
//   - Absent is what is answered 404, and nothing else is: 401, 429 and 5xx end the pull.
//   - Whatever ends a pull, the next one goes on from there and fetches no finished blob
//     again. Archives of an older bundle serve as a source too.
//   - What belongs to an image comes with it: signatures, attestations and SBOMs, by their
//     tags and by the referrers API or its tag.
//
// Beside what is fetched, it needs room on disk for the largest archive; over an older
// bundle for all archives that change.
//
// The formats are the bundle of the field's own tool, the OCI image layout 1.1 and the
// distribution specification 1.1.
package pull
