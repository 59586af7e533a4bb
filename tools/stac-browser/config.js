// The settings of STAC Browser, read when the page is opened. Made by tools/browser from a release.
(() => {
  const release = RELEASE;

  // One source draws all its bands with one range: bands of different ranges are sources of their own.
  const sources = (url, nodata, { bidx, rescale }) => {
    const same = rescale.every(([min, max]) => min === rescale[0][0] && max === rescale[0][1]);
    const source = (bands, [min, max]) => ({ url, bands, min, max, ...(nodata === undefined ? {} : { nodata }) });
    return same ? [source(bidx, rescale[0])] : bidx.map((band, channel) => source([band], rescale[channel]));
  };

  window.STAC_BROWSER_CONFIG = {
    catalogUrl: new URL(release.catalog, document.baseURI).href,
    catalogTitle: release.title,
    historyMode: "hash",
    // Links are made of the hash alone, so that the folder works wherever it lies, under whatever name of its page.
    pathPrefix: "",
    crs: release.crs,
    // STAC Browser stretches over the full range of the values, in which most images are dark: the collection knows better.
    getMapSourceOptions: (type, options, asset) => {
      const render = release.renders[asset.getContext?.()?.collection]?.[asset.getKey?.()];
      const [first] = options.sources ?? [];
      return {
        ...options,
        ...(render && first ? { sources: sources(first.url, first.nodata, render) } : {}),
        // By itself it asks for headers and offsets some bytes at a time, thirty requests a file, and now and then it
        // draws a block as a hole. All that was fetched is kept: what geotiff.js drops, others may be waiting for.
        sourceOptions: { ...options.sourceOptions, blockSize: 65536, cacheSize: 65536 },
      };
    },
  };
})();
