// Package release parses what Deckhouse publishes about its releases: versions, constraints,
// release channels, and the files in images that declare other images.
//
// All functions are pure: no network, disk or clock. A pull and a verdict on a bundle both use
// them, and so agree on what is declared: [ParseImages] reads the images of a release or a
// module, [ParseExtraImages] a module's extra images, [ParseVersionFile] the image of a release
// channel, [ParseContract] what a plugin of the command line needs.
package release
