// Package pull fetches content from a registry and writes it as a bundle. The bundle has the same
// paths as the registry, so other commands can serve, import and push it as it is.
//
// Start with [Run], which executes a pull, or with [Dry], which only reports its plan. A [Planner]
// chooses the content of a bundle and fills a [Draft]. [Repositories] is a planner that pulls
// repositories as they are. The rules of a product are in the product's own planner, not in package
// pull.
//
// A pull has four steps. It plans: it resolves each tag once, and requests everything else by
// digest, so a tag that moves meanwhile does no harm. It fetches each blob once for the whole
// bundle, verifies the blob while writing it, and resumes interrupted downloads. It packs: package bundle
// writes archives that depend only on their content. It publishes: it reads the archives as a server
// would, and then renames them into place together.
//
// A pull guarantees:
//   - Nothing is published before everything planned is complete and intact. If content is
//     missing in the source, [IncompleteError] lists all of it. With Options.AllowIncomplete, a
//     pull publishes all complete images and lists the rest.
//   - An incomplete image is never published.
//   - Only a 404 means missing: 401, 403, 429 and 5xx for planned content end the pull.
//   - After any interruption, the next pull resumes, and fetches no finished blob again. It
//     also reuses the blobs of an older bundle.
//   - Signatures, attestations and SBOMs are pulled with their image. They are found by their
//     tags, and by the referrers API or the referrers tag.
//
// In addition to the fetched blobs, a pull needs disk space for its largest archive. To update an
// older bundle, it needs disk space for all archives that change.
//
// The formats are defined in the OCI image layout 1.1 and the distribution specification 1.1.
package pull
