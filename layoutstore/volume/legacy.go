package volume

import "strings"

// legacyPrefix is where the layouts of an archive in the form of old bundles
// belong: module-<name>.tar holds `.`, `release` and `extra/*` of modules/<name>,
// and security*.tar holds `trivy-*` of security. It applies only if all of the
// archive's layouts are such, and ends with a slash.
func legacyPrefix(archive string, layouts []tarLayout) string {
	if len(layouts) == 0 {
		return ""
	}
	name := strings.TrimSuffix(archive, ".tar")
	module, isModule := strings.CutPrefix(name, "module-")
	isSecurity := strings.HasPrefix(name, "security")
	for _, l := range layouts {
		isModule = isModule && (l.path == "." || l.path == "release" || strings.HasPrefix(l.path, "extra/"))
		isSecurity = isSecurity && strings.HasPrefix(l.path, "trivy-")
	}
	switch {
	case isModule && module != "":
		return "modules/" + module + "/"
	case isSecurity:
		return "security/"
	}
	return ""
}
