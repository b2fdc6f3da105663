package importer

// Before has f called before each change of the store, with what will be done. Its
// error is that of the change.
func (i *Importer) Before(f func(op, path string) error) { i.before = f }
