// Package pull fetches from a registry and writes a bundle, whose paths are those of
// the registry: other commands serve, import and push the bundle as it is.
//
// Start with [Run], which pulls what [Options] say, or with [Dry], which only reports the
// plan. A [Planner] chooses what a bundle gets and fills a [Draft]: [Repositories] takes
// repositories as they are, and the planner of a product knows the product's rules. Package
// pull itself knows no product.
//
// A pull has these steps. It plans: it resolves each tag once, and requests everything else
// by digest, so that a tag that moves meanwhile does no harm. It fetches: each blob once for
// the bundle, verified while it is written, resumed where an earlier try was cut. It packs:
// package bundle writes archives that depend only on their content. It publishes: it reads
// the archives as a server would, and then renames them into place together.
//
// What it promises:
//   - Nothing is published before everything planned is complete and intact. Everything
//     missing in the source is listed ([IncompleteError]). If Options allow it, everything
//     complete is published and the rest is listed; an incomplete image is never published.
//   - Only a 404 means missing: 401, 429 and 5xx end the pull.
//   - Whatever ends a pull, the next one resumes it and fetches no finished blob again.
//     It reuses the blobs of an older bundle too.
//   - Signatures, attestations and SBOMs come with their image, by their tags and by the
//     referrers API or its tag.
//
// Beside the fetched blobs, a pull needs disk space for the largest archive; to update an
// older bundle, for all archives that change.
//
// The formats are the OCI image layout 1.1 and the distribution specification 1.1.
package pull
