// Package pull fetches from a registry and writes a bundle, whose paths are those of
// the registry: what was pulled is served, imported and pushed as it is.
//
// Start with [Run], which pulls what [Options] say, or with [Dry], which says what that
// would be. What a bundle gets is chosen by a [Planner], which fills a [Draft]:
// [Repositories] takes repositories as they are, and a planner of a product knows its rules.
// Pull itself knows no product.
//
// A pull has these steps. It plans: each tag is resolved once, and from then on everything
// is asked for by digest, so that a tag that moves meanwhile does no harm. It fetches:
// each blob once for the whole bundle, proven while it is written, from where an earlier try
// was cut. It packs: package bundle writes archives that depend on their content alone. It
// publishes: the archives are read as a server would, and then take their place together.
//
// What it promises:
//   - Nothing is published before everything that was planned is there and intact. What the
//     source does not have is listed, all of it ([IncompleteError]). Where Options allow it,
//     what is complete is published, and what is not is listed: an image that is not complete
//     never is.
//   - Absent is what is answered 404, and nothing else is: 401, 429 and 5xx end the pull.
//   - Whatever ends a pull, the next one resumes it and fetches no finished blob again.
//     Blobs of an older bundle are used again too.
//   - What belongs to an image comes with it: signatures, attestations and SBOMs, by their
//     tags and by the referrers API or its tag.
//
// Beside what is fetched, it needs space on disk for the largest archive; over an older
// bundle for all archives that change.
//
// The formats are the OCI image layout 1.1 and the distribution specification 1.1.
package pull
