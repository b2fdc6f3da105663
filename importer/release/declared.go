package release

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// PlatformDigests is the file in the platform image that lists the images of the platform. Clusters use this
// list. It has the same form as [InstallerDigests].
const PlatformDigests = "deckhouse/modules/images_digests.json"

// ErrNothingDeclared reports that an installer has no file that declares images.
var ErrNothingDeclared = errors.New("the installer has neither " + InstallerTags + " nor " + InstallerDigests)

// ParseInstaller returns the images that an installer declares, sorted by name. It reads [InstallerTags] or,
// if there is no such file, [InstallerDigests]. If both are missing, the error is ErrNothingDeclared. Other
// errors report a malformed file.
func ParseInstaller(files map[string][]byte) ([]Image, error) {
	file, parse := InstallerTags, ParseTags
	if files[file] == nil {
		file, parse = InstallerDigests, ParseDigests
	}
	if files[file] == nil {
		return nil, ErrNothingDeclared
	}
	images, err := parse(files[file])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return images, nil
}

// Database is a vulnerability database of an edition, and its tag.
type Database struct{ Name, Tag string }

// Databases returns the vulnerability databases. If an edition does not have the first one, it has none of
// them.
func Databases() []Database {
	return []Database{{"trivy-db", "2"}, {"trivy-bdu", "1"}, {"trivy-java-db", "1"}, {"trivy-checks", "0"}}
}

// Requirements maps the name of a requirement of a release to its value, for example k8s to 1.27.
type Requirements map[string]string

// ParseRequirements reads the requirements in the version file of a release.
func ParseRequirements(file []byte) (Requirements, error) {
	var doc struct {
		Requirements Requirements `json:"requirements"`
	}
	if err := parseVersionFile(file, &doc); err != nil {
		return nil, err // json.Unmarshal may have read some of the requirements
	}
	return doc.Requirements, nil
}

// migratedModules is the name of the requirement that lists modules which are no longer part of the platform,
// separated by commas. A cluster refuses the release if no source has them (see the check with this name in
// the release controller of deckhouse/deckhouse).
const migratedModules = "migratedModules"

// Modules returns the names of the required modules, sorted and without duplicates.
func (r Requirements) Modules() (names []string) {
	for name := range strings.SplitSeq(r[migratedModules], ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// OfCluster returns all requirements except migratedModules, as sorted texts such as "k8s 1.27".
// Only the cluster can meet these requirements.
func (r Requirements) OfCluster() (all []string) {
	for name, value := range r {
		if name != migratedModules {
			all = append(all, strings.TrimSpace(name+" "+value))
		}
	}
	slices.Sort(all)
	return all
}
