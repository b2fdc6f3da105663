// Package release parses what Deckhouse publishes about its releases: versions, constraints,
// release channels, and the files in images that declare other images.
//
// All functions are pure: they use no network, disk or clock. Package pull selects images by them,
// and package ready checks bundles by them. [ParseInstaller] and [ParseDigests] read the images of a
// release or a module, [ParseExtraImages] a module's extra images, [ParseChannel] the image of a
// release channel, [ParseContract] the requirements of a plugin of the command line.
package release
